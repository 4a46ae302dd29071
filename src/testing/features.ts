/**
 * What a kernel may lack that a test needs, each by a name and a trial: commands of `ip`, `tc` or `nft` that only such a
 * kernel takes, in a namespace that is gone afterwards. A trial that asks for a module may load it.
 */
import { existsSync } from "node:fs";
import { plainEnv } from "./run.ts";
import { hasSpareNics } from "./spare-nics.ts";

type Trial =
  | { readonly program: readonly string[]; readonly lines: readonly string[] }
  | { readonly holds: () => boolean };

const ip = (...lines: readonly string[]): Trial => ({ program: ["ip", "-batch", "-"], lines });
const tc = (...lines: readonly string[]): Trial => ({ program: ["tc", "-batch", "-"], lines });
const filter = (text: string): Trial =>
  tc("qdisc add dev lo clsact", `filter add dev lo ingress protocol all ${text}`);
const bridgeRule = (rule: string): Trial => ({
  program: ["nft", "-f", "-"],
  lines: ["table bridge t {", "chain c {", "type filter hook input priority 0;", rule, "}", "}"],
});
/** A kind of link that stands on another one. */
const upon = (kind: string): Trial =>
  ip("link add name a0 type veth peer name a1", `link add link a0 name b0 type ${kind}`);

const trials = {
  bond: ip("link add name a0 type bond"),
  "bridge conntrack": bridgeRule("ct state established accept"),
  "bridge meta": bridgeRule('meta ibrname "a0" drop'),
  "bridge reject": bridgeRule("reject"),
  "bridge vlan": ip("link add name a0 type bridge vlan_filtering 1"),
  br_netfilter: { holds: () => existsSync("/proc/sys/net/bridge/bridge-nf-call-iptables") },
  dummy: ip("link add name a0 type dummy"),
  flower: filter("flower action ok"),
  geneve: ip("link add name a0 type geneve id 1 remote 192.0.2.1"),
  ifb: ip("link add name a0 type ifb"),
  ipip: ip("link add name a0 type ipip local 192.0.2.1 remote 192.0.2.2"),
  ipvlan: upon("ipvlan mode l2"),
  macvlan: upon("macvlan mode bridge"),
  macvtap: upon("macvtap mode bridge"),
  matchall: filter("matchall action ok"),
  netem: tc("qdisc add dev lo root netem delay 1ms"),
  openvswitch: { program: ["genl", "ctrl", "get", "name", "ovs_datapath"], lines: [] },
  police: filter("u32 match u32 0 0 police rate 1mbit burst 10k drop"),
  "spare nics": { holds: hasSpareNics },
  tun: ip("tuntap add name a0 mode tap"),
  vlan: upon("vlan id 5"),
  vrf: ip("link add name a0 type vrf table 10"),
  vxlan: ip("link add name a0 type vxlan id 1 dstport 4789"),
  wireguard: ip("link add name a0 type wireguard"),
} as const satisfies Readonly<Record<string, Trial>>;

export type KernelFeature = keyof typeof trials;
export const kernelFeatures = Object.keys(trials) as readonly KernelFeature[];

/** What kernels of machines that run tests mostly lack: tests that want one run in the virtual machine, where they are slow. */
export const rareFeatures: readonly KernelFeature[] = ["bridge vlan", "dummy", "ipvlan", "vlan", "vrf"];

const known = new Map<KernelFeature, boolean>();

/** Whether the running kernel has it. Asked once in a process; as root, since namespaces need it. */
export function kernelHas(feature: KernelFeature): boolean {
  const before = known.get(feature);
  if (before !== undefined) return before;
  const has = holds(trials[feature]);
  known.set(feature, has);
  return has;
}

function holds(trial: Trial): boolean {
  if ("holds" in trial) return trial.holds();
  const { success } = Bun.spawnSync(["unshare", "--net", ...trial.program], {
    env: { ...plainEnv },
    stdin: Buffer.from(`${trial.lines.join("\n")}\n`),
    stdout: "ignore",
    stderr: "ignore",
  });
  return success;
}
