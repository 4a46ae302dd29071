/**
 * The nftables backend in a namespace of a test, and rules to feed it with. Its socket belongs to the namespace in which
 * it was opened, so that the test itself stays outside.
 */
import { openNftables } from "../firewall/nftables.ts";
import type {
  FirewallBackend,
  FirewallRule,
  FirewallState,
  LivingOwner,
  PortMapping,
} from "../firewall/model.ts";
import { type Ip, type IpPrefix, parseIp, parsePrefix } from "../net/ip.ts";
import { parseMac } from "../net/mac.ts";
import { type NetlinkSocket, openNetlink } from "../netlink/socket.ts";
import { inNetns, openNetns } from "../sys/netns.ts";
import { type TestNetns, testNetns } from "./netns.ts";
import { tempDir } from "./temp-dir.ts";

export function nftablesIn(netns: TestNetns, lockDir: string): FirewallBackend & Disposable {
  using handle = openNetns(netns.path);
  return inNetns(handle, () => openNftables({ lockDir }));
}

export function netfilterSocketIn(netns: TestNetns): NetlinkSocket {
  using handle = openNetns(netns.path);
  return inNetns(handle, () => openNetlink("netfilter"));
}

/** A namespace with the backend in it, and a socket to look with. */
export interface NftablesBench extends AsyncDisposable {
  readonly netns: TestNetns;
  readonly firewall: FirewallBackend;
  readonly socket: NetlinkSocket;
}

export async function nftablesBench(): Promise<NftablesBench> {
  const netns = await testNetns();
  const folder = tempDir("nftables");
  const firewall = nftablesIn(netns, folder.path);
  const socket = netfilterSocketIn(netns);
  return {
    netns,
    firewall,
    socket,
    [Symbol.asyncDispose]: async () => {
      socket[Symbol.dispose]();
      firewall[Symbol.dispose]();
      folder[Symbol.dispose]();
      await netns[Symbol.asyncDispose]();
    },
  };
}

export const listRuleset = async (netns: TestNetns, ...what: readonly string[]): Promise<string> =>
  (await netns.exec(["nft", "list", ...(what.length === 0 ? ["ruleset"] : what)])).stdout;

const parsed = <T>(result: { ok: true; value: T } | { ok: false; why: string }): T => {
  if (!result.ok) throw new TypeError(result.why);
  return result.value;
};
export const ip = (s: string): Ip => parsed(parseIp(s));
export const prefix = (s: string): IpPrefix => parsed(parsePrefix(s));

/** `10.0.0.2/24`: the address and the prefix on its interface. */
export const masquerade = (address: string): FirewallRule => ({
  kind: "masquerade",
  address: prefix(address).ip,
  subnet: prefix(address),
});

export const macCheck = (link: string, mac: string): FirewallRule => ({
  kind: "mac-check",
  link,
  mac: parsed(parseMac(mac)),
});

/** `127.0.0.1:9090/tcp` or `9090/udp`, to `10.0.0.2:80`, which is on `subnet`. */
export function mapping(
  host: string,
  target: string,
  subnet: string,
  mode: PortMapping["masquerade"] = "local",
): PortMapping {
  const from = /^(?:(.*):)?(\d+)\/(tcp|udp|sctp)$/.exec(host);
  const to = /^(.*):(\d+)$/.exec(target);
  const plain = (s: string): Ip => ip(s.replaceAll(/[[\]]/g, ""));
  return {
    kind: "port-mapping",
    protocol: from?.[3] === "udp" ? "udp" : from?.[3] === "sctp" ? "sctp" : "tcp",
    ...(from?.[1] ? { hostIp: plain(from[1]) } : {}),
    hostPort: Number(from?.[2]),
    target: plain(to?.[1] ?? ""),
    targetPort: Number(to?.[2]),
    subnet: prefix(subnet),
    masquerade: mode,
  };
}

export const stateOf = (...rules: readonly FirewallRule[]): FirewallState => ({
  backend: "nftables",
  rules,
  network: "mynet",
  containerId: "cid",
});

/** The mark of the n-th attachment of a network. */
export const markOf = (n: number, network = "0123456789ab"): string =>
  `heddle-portmap-${network}-${n.toString(16).padStart(16, "0")}`;
/** Answers of `alive`. */
export const nobodyLives = (): undefined => undefined;
export const allLive = (mark: string): LivingOwner => ({
  containerId: `of ${mark}`,
  name: `container behind ${mark}`,
});
/** All live, and are attachments of the container of `stateOf`. */
export const sameContainer = (mark: string): LivingOwner => ({ ...allLive(mark), containerId: "cid" });
