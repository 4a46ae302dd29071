/**
 * Takes the captures of src/rtnl/golden anew from the running kernel: `bun scripts/capture-rtnl.ts`, as root. What
 * each message means is written by our own decoders, so that annotations cannot drift; read the difference.
 */
import { release } from "node:os";
import { writeFileSync } from "node:fs";
import type { Message } from "../src/netlink/message.ts";
import { type NetlinkSocket, openNetlink } from "../src/netlink/socket.ts";
import { stringify } from "../src/netstate/state-json.ts";
import { addressDump, decodeAddress } from "../src/rtnl/address.ts";
import { decodeFilter, filterDump } from "../src/rtnl/filter.ts";
import { decodeTunnelEntry, tunnelEntryDump } from "../src/rtnl/forwarding-entry.ts";
import { linkTypeOf } from "../src/rtnl/kinds.ts";
import { decodeLink, getLink, linkDump } from "../src/rtnl/link.ts";
import { decodeQdisc, qdiscDump } from "../src/rtnl/qdisc.ts";
import { decodeRoute, routeDump } from "../src/rtnl/route.ts";
import { inNetns, openNetns } from "../src/sys/netns.ts";
import { run } from "../src/testing/run.ts";
import { testNetns } from "../src/testing/netns.ts";

const setUp: readonly string[] = [
  "link add br0 address 02:00:00:00:00:01 type bridge",
  "link add veth0 address 02:00:00:00:00:02 type veth peer name veth1 address 02:00:00:00:00:03",
  "link set veth0 master br0",
  "link property add dev veth0 altname heddle-bridge-0123456789ab-0123456789abcdef",
  "link set veth0 type bridge_slave isolated on hairpin on",
  "link set veth0 up",
  "link set veth1 up",
  "link set br0 up",
  "addr add 10.1.0.1/24 dev br0",
  "addr add fd00:1::1/64 dev br0 nodad",
  "route add 10.2.0.0/16 via 10.1.0.9 mtu 1400 advmss 1360 metric 7",
  "route add 10.3.0.0/16 dev br0 src 10.1.0.1 table 1000",
  "route add default via fd00:1::9",
  "link add vxlan0 address 02:00:00:00:00:04 type vxlan id 7 local 10.1.0.1 dev br0 dstport 8472 ttl 9 nolearning gbp",
  "link add vxlan1 address 02:00:00:00:00:05 type vxlan id 8 local fd00:1::1 dev br0 dstport 4789 group ff05::8",
  "link set vxlan0 up",
  "route add 10.4.0.0/24 via 10.4.0.0 dev vxlan0 onlink proto 73",
  "route add blackhole 10.5.0.0/24 proto 73",
  "route add blackhole fd00:5::/64 proto 73",
];
const entries: readonly string[] = [
  "fdb add 02:00:00:00:00:14 dev vxlan0 dst 10.1.0.14",
  "fdb add 02:00:00:00:00:16 dev vxlan1 dst fd00:1::16",
];

/** Without counters that change while they are read: nothing is sent over these links. */
const trafficControl: readonly string[] = [
  "qdisc add dev br0 root handle 6864: tbf rate 8mbit burst 100kb latency 25ms",
  "qdisc add dev veth1 root handle 1: tbf rate 80gbit burst 8mb limit 250000000 peakrate 90gbit mtu 64kb",
  "qdisc add dev br0 clsact",
  "qdisc add dev veth0 ingress",
  "filter add dev br0 ingress prio 10 protocol ip u32 match ip dst 192.0.2.1 action mirred egress redirect dev veth1",
  "filter add dev br0 ingress prio 20 protocol all u32 match u32 0 0 action mirred egress mirror dev veth1",
  "filter add dev br0 ingress prio 65000 protocol all u32 match u32 0 0 action mirred egress redirect dev veth1",
];

interface Subject {
  readonly file: string;
  readonly command: string;
  readonly list: (socket: NetlinkSocket) => readonly Message[];
  readonly meaning: (m: Message) => unknown;
}
const subjects: readonly Subject[] = [
  { file: "link", command: "ip link show", list: linkDump, meaning: decodeLink },
  {
    file: "tunnel",
    command: "ip -details link show type vxlan",
    list: (s) => linkDump(s).filter((m) => decodeLink(m).kind === "vxlan"),
    meaning: (m) => linkTypeOf(decodeLink(m)),
  },
  {
    file: "forwarding",
    command: "bridge fdb show",
    list: (s) => ["vxlan0", "vxlan1"].flatMap((name) => tunnelEntryDump(s, getLink(s, { name }).index)),
    meaning: decodeTunnelEntry,
  },
  { file: "address", command: "ip address show", list: (s) => addressDump(s, 0), meaning: decodeAddress },
  {
    file: "route",
    command: "ip route show table all",
    list: (s) => [...routeDump(s, 4), ...routeDump(s, 6)],
    meaning: decodeRoute,
  },
  { file: "qdisc", command: "tc qdisc show", list: qdiscDump, meaning: decodeQdisc },
  {
    file: "filter",
    command: "tc filter show dev br0 ingress",
    list: (s) => filterDump(s, getLink(s, { name: "br0" }).index),
    meaning: decodeFilter,
  },
];

const words = (bytes: Uint8Array): string =>
  bytes
    .toHex()
    .replaceAll(/(.{4})/g, "$1 ")
    .replaceAll(/(.{80})/g, "$1\n")
    .replaceAll(/ +$/gm, "");

await using netns = await testNetns();
for (const command of setUp) await run(["ip", "-n", netns.name, ...command.split(" ")]);
for (const command of entries) await run(["bridge", "-n", netns.name, ...command.split(" ")]);
for (const command of trafficControl) await run(["tc", "-n", netns.name, ...command.split(" ")]);
using opened = openNetns(netns.path);
using socket = inNetns(opened, () => openNetlink("route"));
for (const { file, command, list, meaning } of subjects) {
  const captures = list(socket).map((m) =>
    [
      `# command: ${command}`,
      `# kernel: ${release().split("-")[0]}`,
      `# expect: ${stringify(meaning(m))}`,
      words(m.body),
      "",
    ].join("\n"),
  );
  writeFileSync(new URL(`../src/rtnl/golden/${file}.txt`, import.meta.url), captures.join("\n"));
}
