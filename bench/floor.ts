/**
 * The floor: the kernel requests, parameters and files of one attachment, from straight code in a process that runs
 * already and whose code is compiled. It decides nothing and checks nothing, so that what a real ADD takes above it is
 * the price of a process and of doing it right. Masquerading and the port are by nftables, as in our default.
 */
import { mkdirSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { openNftables } from "../src/firewall/nftables.ts";
import type { FirewallRule } from "../src/firewall/model.ts";
import { defaultRoute, type Ip, type IpPrefix, parseIp, parsePrefix, prefix } from "../src/net/ip.ts";
import { localMac } from "../src/net/mac.ts";
import { addAddress } from "../src/rtnl/address.ts";
import { addAltName, createBridge, createVeth, getLink, removeLink, setLink } from "../src/rtnl/link.ts";
import { appendRoute } from "../src/rtnl/route.ts";
import { openNetlink } from "../src/netlink/socket.ts";
import { inNetns, openNetns } from "../src/sys/netns.ts";
import { writeSysctl } from "../src/sys/sysctl.ts";

export interface FloorAttachment {
  /** Counts from 1; chooses names, addresses and ports. */
  readonly number: number;
  readonly netns: string;
  readonly mapped: boolean;
}

const BRIDGE = "mynet";
const RUN = "/run/floor";
const LEASES = "/var/lib/floor";

function known<T>(
  parsed: { readonly ok: true; readonly value: T } | { readonly ok: false; readonly why: string },
): T {
  if (!parsed.ok) throw new TypeError(parsed.why);
  return parsed.value;
}
const subnet: IpPrefix = known(parsePrefix("10.244.10.0/24"));
const gateway: Ip = known(parseIp("10.244.10.1"));
const randomMac = () => localMac(crypto.getRandomValues(new Uint8Array(6)));

/** Makes the bridge and the folders, once for all attachments. */
export function prepareFloor(): void {
  for (const dir of [RUN, LEASES]) mkdirSync(dir, { recursive: true });
  using host = openNetlink("route");
  createBridge(host, { name: BRIDGE, mac: randomMac() });
  const { index } = getLink(host, { name: BRIDGE });
  setLink(host, { index }, { up: true });
  addAddress(host, index, prefix(gateway, subnet.bits), { dad: false, connectedRoute: true });
  writeSysctl("net/ipv4/ip_forward", "1");
}

const mark = (n: number): string => `floor-${n}`;
const veth = (n: number): string => `vethfloor${n}`;
const record = (n: number): string => `${RUN}/${n}`;
const addressOf = (n: number): Ip => known(parseIp(`10.244.10.${2 + (n % 250)}`));

function rules(n: number, mapped: boolean): readonly FirewallRule[] {
  const target = addressOf(n);
  if (!mapped) return [];
  return [
    { kind: "masquerade", address: target, subnet },
    {
      kind: "port-mapping",
      protocol: "tcp",
      hostIp: known(parseIp("127.0.0.1")),
      hostPort: 20_000 + n,
      target,
      targetPort: 80,
      subnet,
      masquerade: "local",
    },
  ];
}
const firewallState = (n: number, mapped: boolean) =>
  ({ backend: "nftables", rules: rules(n, mapped), network: BRIDGE, containerId: mark(n) }) as const;

export function floorAdd({ number: n, netns: path, mapped }: FloorAttachment): void {
  writeFileSync(`${record(n)}.pending`, path);
  const address = addressOf(n);
  writeFileSync(`${LEASES}/${address.text}`, mark(n), { flag: "wx" });
  writeFileSync(`${LEASES}/last`, address.text);
  using netns = openNetns(path);
  using host = openNetlink("route");
  const master = getLink(host, { name: BRIDGE }).index;
  createVeth(
    host,
    { name: veth(n), mac: randomMac(), master, up: true },
    { name: "eth0", mac: randomMac(), netnsFd: netns.fd },
  );
  addAltName(host, { name: veth(n) }, mark(n));
  writeSysctl(`net/ipv6/conf/${veth(n)}/accept_ra`, "0");
  inNetns(netns, () => {
    using inside = openNetlink("route");
    const { index } = getLink(inside, { name: "eth0" });
    writeSysctl("net/ipv4/conf/eth0/arp_notify", "1");
    writeSysctl("net/ipv6/conf/eth0/accept_dad", "0");
    setLink(inside, { index }, { up: true });
    addAddress(inside, index, prefix(address, subnet.bits), { dad: false, connectedRoute: true });
    appendRoute(inside, { dst: defaultRoute(4), gateway, oif: index });
  });
  if (mapped) {
    using firewall = openNftables({ lockDir: RUN });
    firewall.apply(firewallState(n, mapped), mark(n), () => undefined);
    writeSysctl(`net/ipv4/conf/${BRIDGE}/route_localnet`, "1");
  }
  renameSync(`${record(n)}.pending`, record(n));
}

export function floorDel({ number: n, mapped }: FloorAttachment): void {
  // Left open until the pair is gone: closing it waits until what was removed is freed.
  using firewall = mapped ? openNftables({ lockDir: RUN }) : undefined;
  firewall?.remove(mark(n), firewallState(n, mapped));
  using host = openNetlink("route");
  removeLink(host, { altName: mark(n) });
  unlinkSync(`${LEASES}/${addressOf(n).text}`);
  unlinkSync(record(n));
}
