import { basename, dirname, join } from "node:path";
import { addToIp, type IpPrefix, prefix } from "../../net/ip.ts";
import { readSubnetEnv } from "../../plugins/meta/flannel/subnet-env.ts";
import { giveFile, makeDirs, O, putText, removeIfThere, renameFile, syncPath } from "../../sys/files.ts";

/**
 * The daemon's side of subnet.env: the bytes that flanneld writes, put in place at once, and what this host had before,
 * read back from it.
 */
export interface Announced {
  readonly v4?: HostSubnet;
  readonly v6?: HostSubnet;
  /** For containers. */
  readonly mtuBytes: number;
  /** True if this daemon masquerades. */
  readonly ipMasq: boolean;
}

/** The whole network and this host's part of it, without host bits. */
export interface HostSubnet {
  readonly network: IpPrefix;
  readonly subnet: IpPrefix;
}

/** Of a subnet the file tells the first usable address: that of the host's bridge. */
export function formatSubnetEnv({ v4, v6, mtuBytes, ipMasq }: Announced): string {
  const family = (infix: string, part: HostSubnet | undefined): readonly string[] => {
    if (part === undefined) return [];
    const gateway = prefix(addToIp(part.subnet.ip, 1n), part.subnet.bits);
    return [`FLANNEL_${infix}NETWORK=${part.network.text}`, `FLANNEL_${infix}SUBNET=${gateway.text}`];
  };
  const lines = [
    ...family("", v4),
    ...family("IPV6_", v6),
    `FLANNEL_MTU=${mtuBytes}`,
    `FLANNEL_IPMASQ=${ipMasq}`,
  ];
  return `${lines.join("\n")}\n`;
}

/**
 * Puts the text in place of the file, readable by all, whole at every moment; directories above are made.
 * @throws sys/call
 */
export function writeSubnetEnv(path: string, text: string): void {
  makeDirs(dirname(path), 0o755);
  const made = join(dirname(path), `.${basename(path)}.new`);
  // What a killed process left; whoever else writes at this moment is refused.
  removeIfThere(made);
  putText(made, text, O.CREAT | O.EXCL);
  try {
    giveFile(made, { uid: undefined, gid: undefined, mode: 0o644 }); // whatever the umask says
    syncPath(made);
    renameFile(made, path);
  } catch (e) {
    removeIfThere(made);
    throw e;
  }
}

/** What the file says of before: one network and one subnet a family. */
export interface Previous {
  readonly v4?: HostSubnet;
  readonly v6?: HostSubnet;
}

/**
 * What this host had when the file was written; undefined if there is no file. A family with several networks, which no
 * daemon of one network wrote, is left out.
 * @throws decode/malformed, sys/call
 */
export function readPrevious(path: string): Previous | undefined {
  const env = readSubnetEnv(path);
  if (env === undefined) return undefined;
  const { v4, v6 } = env.subnets;
  const part = (family: 4 | 6, subnet: IpPrefix | undefined): HostSubnet | undefined => {
    const [network, ...more] = env.networks.filter((p) => p.ip.family === family);
    return network && subnet && more.length === 0 ? { network, subnet } : undefined;
  };
  const [four, six] = [part(4, v4), part(6, v6)];
  return { ...(four ? { v4: four } : {}), ...(six ? { v6: six } : {}) };
}
