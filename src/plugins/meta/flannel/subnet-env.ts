import { NetError } from "../../../errors.ts";
import type { Parsed } from "../../../net/brand.ts";
import { type Family, type IpPrefix, network, parsePrefix } from "../../../net/ip.ts";
import { O, openFile, readAll, statFd, unlessErrno } from "../../../sys/files.ts";

/**
 * What a host's Flannel daemon tells the CNI plugin and Docker: the file subnet.env, lines of `NAME=value`. Others write it,
 * so every value is checked; names that are not Flannel's are left alone.
 */
export interface SubnetEnv {
  /** The whole networks, without host bits, those of IPv4 first, each once. */
  readonly networks: readonly IpPrefix[];
  /** This host's subnets, without host bits. In the file stands the address of the host's bridge, the first one. */
  readonly subnets: { readonly v4?: IpPrefix; readonly v6?: IpPrefix };
  /** For containers. 0: the kernel's default. */
  readonly mtuBytes: number;
  /** True if the daemon masquerades what leaves the network, so that nobody else has to. */
  readonly ipMasq: boolean;
}

/** Most that is read of the file, in bytes, and the most networks of a family. */
const FILE_LIMIT = 64 * 1024;
const NETWORKS_LIMIT = 256;

/**
 * Reads the file; undefined if there is none.
 * @throws decode/malformed, naming the line's name; sys/call
 */
export function readSubnetEnv(path: string): SubnetEnv | undefined {
  // A pipe in its place would be waited for.
  using fd = unlessErrno(["ENOENT", "ENOTDIR"], () => openFile(path, O.RDONLY | O.NONBLOCK));
  if (fd === undefined) return undefined;
  const { isFile, size } = statFd(fd.raw);
  if (!isFile || size > FILE_LIMIT)
    throw new NetError("decode/malformed", {
      what: path,
      why: isFile ? `has ${size} bytes; at most ${FILE_LIMIT} are read` : "is not a file",
    });
  return parseSubnetEnv(new TextDecoder().decode(readAll(fd.raw, path)), path);
}

/** @throws decode/malformed; `what` names the text in it */
export function parseSubnetEnv(text: string, what: string): SubnetEnv {
  const values = linesOf(text);
  const malformed = (why: string): never => {
    throw new NetError("decode/malformed", { what, why });
  };
  const prefixOf = (name: string, word: string, family: Family): IpPrefix => {
    const parsed = parsePrefix(word);
    if (!parsed.ok) return malformed(`${name}: ${parsed.why}`);
    if (parsed.value.ip.family !== family) return malformed(`${name}: "${word}" is not of IPv${family}`);
    if (parsed.value.bits === 0) return malformed(`${name}: "${word}" is every address`);
    return network(parsed.value);
  };
  const networksOf = (name: string, family: Family): readonly IpPrefix[] => {
    const words = values.get(name)?.split(",") ?? [];
    if (words.length > NETWORKS_LIMIT) return malformed(`${name}: more than ${NETWORKS_LIMIT} networks`);
    const all = words.map((word) => prefixOf(name, word, family));
    return [...new Map(all.map((p) => [p.text, p])).values()];
  };
  const subnetOf = (name: string, family: Family): IpPrefix | undefined => {
    const word = values.get(name);
    return word === undefined ? undefined : prefixOf(name, word, family);
  };
  const networks = [...networksOf("FLANNEL_NETWORK", 4), ...networksOf("FLANNEL_IPV6_NETWORK", 6)];
  const v4 = subnetOf("FLANNEL_SUBNET", 4);
  const v6 = subnetOf("FLANNEL_IPV6_SUBNET", 6);
  const [mtu, masq] = [values.get("FLANNEL_MTU"), values.get("FLANNEL_IPMASQ")];
  const missing = [
    ...(networks.length === 0 ? ["FLANNEL_NETWORK or FLANNEL_IPV6_NETWORK"] : []),
    ...(v4 === undefined && v6 === undefined ? ["FLANNEL_SUBNET or FLANNEL_IPV6_SUBNET"] : []),
    ...(mtu === undefined ? ["FLANNEL_MTU"] : []),
    ...(masq === undefined ? ["FLANNEL_IPMASQ"] : []),
  ];
  if (mtu === undefined || masq === undefined || missing.length > 0)
    return malformed(`${missing.join(", ")} ${missing.length === 1 ? "is" : "are"} missing`);
  const [mtuBytes, ipMasq] = [parseMtu(mtu), parseFlag(masq)];
  if (!mtuBytes.ok) return malformed(`FLANNEL_MTU: ${mtuBytes.why}`);
  if (!ipMasq.ok) return malformed(`FLANNEL_IPMASQ: ${ipMasq.why}`);
  return {
    networks,
    subnets: { ...(v4 ? { v4 } : {}), ...(v6 ? { v6 } : {}) },
    mtuBytes: mtuBytes.value,
    ipMasq: ipMasq.value,
  };
}

/** The last of several lines of one name counts, as where a shell reads them; quotes around a value are taken off. */
function linesOf(text: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const at = line.indexOf("=");
    if (at < 0) continue;
    const value = line.slice(at + 1).trim();
    values.set(line.slice(0, at).trim(), /^(["'])(.*)\1$/.exec(value)?.[2] ?? value);
  }
  return values;
}

/** 68 is the least that IPv4 allows (RFC 791). */
function parseMtu(word: string): Parsed<number> {
  const value = /^\d{1,5}$/.test(word) ? Number(word) : Number.NaN;
  return value === 0 || (value >= 68 && value <= 65535)
    ? { ok: true, value }
    : { ok: false, why: `"${word.slice(0, 20)}" is no MTU between 68 and 65535` };
}

const parseFlag = (word: string): Parsed<boolean> =>
  word === "true" || word === "false"
    ? { ok: true, value: word === "true" }
    : { ok: false, why: `"${word.slice(0, 20)}" is neither true nor false` };
