/**
 * What the fault loops attach and detach: one plugin called by itself as a runtime does, or a whole list through the
 * command line. Each says how to do it, how to do it with the least that a runtime may know, and how to collect garbage.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CniHost, PluginReply } from "../../src/testing/cni-host.ts";
import type { KernelFeature } from "../../src/testing/features.ts";
import { run } from "../../src/testing/run.ts";

/** A container on a host. */
export interface Subject {
  readonly host: CniHost;
  readonly netns: string;
  readonly containerId: string;
}
export interface Scenario {
  readonly name: string;
  /** What a kernel may lack that this needs. */
  readonly features?: readonly KernelFeature[];
  /** Attaches what has to be there before, without a fault. */
  prepare?(on: Subject): Promise<void>;
  add(on: Subject, under?: readonly string[]): Promise<PluginReply>;
  check(on: Subject, added: PluginReply, under?: readonly string[]): Promise<PluginReply>;
  /** `bare`: configuration and key alone, without a namespace or a previous result. */
  del(on: Subject, how: "bare" | "full", under?: readonly string[]): Promise<PluginReply>;
  /** No attachment is valid. */
  gc(on: Subject, under?: readonly string[]): Promise<PluginReply>;
  /** Takes back `prepare`, and looks whether it is as before; in a namespace that came in place of another all is new. */
  finish?(on: Subject, namespace?: "same" | "new"): Promise<void>;
  /**
   * What tells DEL and GC what was made when the record is lost. Absent: marks in the host. `inside`: marks in the
   * container, for a DEL that is told the namespace; it goes with the container. `record`: nothing else does.
   */
  readonly knownBy?: "inside" | "record";
}

const NETWORK = { cniVersion: "1.1.0", name: "faults" };

const ipam = ({ host }: Subject, ranges: readonly string[]) => ({
  type: "host-local",
  dataDir: join(host.dir, "ipam"),
  ranges: ranges.map((subnet) => [{ subnet }]),
  routes: [{ dst: "0.0.0.0/0" }],
});
const V4 = ["10.97.0.0/24"];
const DUAL = [...V4, "fd97::/64"];

export const key = ({ netns, containerId }: Subject) => ({ netns, containerId, ifname: "eth0" });

type Conf = (on: Subject) => object;

/** One plugin, executed by itself. */
function alone(name: string, type: string, conf: Conf, extra: Partial<Scenario> = {}): Scenario {
  return {
    name,
    add: (on, under) => on.host.call(type, { command: "ADD", ...key(on) }, conf(on), under),
    check: (on, { result }, under) =>
      on.host.call(type, { command: "CHECK", ...key(on) }, { ...conf(on), prevResult: result }, under),
    del: (on, how, under) => {
      const { netns, ...bare } = key(on);
      const call = { command: "DEL", ...bare, ...(how === "full" ? { netns } : {}) } as const;
      return on.host.call(type, call, conf(on), under);
    },
    gc: (on, under) =>
      on.host.call(type, { command: "GC" }, { ...conf(on), "cni.dev/valid-attachments": [] }, under),
    ...extra,
  };
}

export const bridgeConf =
  (more: object = {}, ranges = V4): Conf =>
  (on) => ({ ...NETWORK, type: "bridge", bridge: "hdlf0", isGateway: true, ipam: ipam(on, ranges), ...more });

/** A bridge network by itself. */
export const bridgeNamed = (name: string, more: object = {}): Scenario =>
  alone(`bridge ${name}`, "bridge", bridgeConf({ bridge: name, ...more }));

/** A bridge by `flannel`, with the file that a daemon would have written. */
function byFlannel(): Scenario {
  const conf: Conf = ({ host }) => {
    const subnetFile = join(host.dir, "subnet.env");
    const networks = ["FLANNEL_NETWORK=10.96.0.0/13", "FLANNEL_IPV6_NETWORK=fd97::/48"];
    const subnets = ["FLANNEL_SUBNET=10.97.0.1/24", "FLANNEL_IPV6_SUBNET=fd97::1/64"];
    writeFileSync(
      subnetFile,
      [...networks, ...subnets, "FLANNEL_MTU=1450", "FLANNEL_IPMASQ=false", ""].join("\n"),
    );
    const ipam = { dataDir: join(host.dir, "ipam"), routes: [{ dst: "0.0.0.0/0" }] };
    return { ...NETWORK, type: "flannel", subnetFile, delegate: { bridge: "hdlf0" }, ipam };
  };
  return alone("flannel", "flannel", conf);
}

function mustSucceed(what: string, reply: PluginReply): PluginReply {
  if (reply.code !== 0) throw new Error(`${what} failed with ${reply.code}: ${reply.message}`);
  return reply;
}

const PORTS = [
  { hostPort: 9797, containerPort: 80, protocol: "tcp", hostIP: "127.0.0.1" },
  { hostPort: 9798, containerPort: 81, protocol: "udp" },
];

/** What a plugin that comes after another one changes, as text. */
type Look = (on: Subject) => Promise<string>;
const seen =
  (...commands: readonly string[]): Look =>
  async ({ host, netns }) => {
    const texts: string[] = [];
    for (const command of commands) {
      const { stdout } = await host.exec(["nsenter", `--net=${netns}`, "--", ...command.split(" ")]);
      texts.push(stdout);
    }
    return texts.join("\n");
  };

/**
 * Link-local routes and those of the local table come with the end of duplicate address detection, and the kernel's rule
 * for VRFs with the first one, for good.
 */
const routing: Look = async (on) => {
  const text = await seen("ip route show table all", "ip rule", "ip -6 rule")(on);
  return text
    .split("\n")
    .filter((line) => !/table local|^fe80:|l3mdev/.test(line))
    .toSorted()
    .join("\n");
};

type Interface = Pick<Scenario, "add" | "del">;
interface Behind {
  /** What the runtime adds to the configuration for ADD and CHECK. */
  readonly wanted?: object;
  /** Has to look as before once the plugin has taken back what it did, while the interface is still there. */
  readonly look?: Look;
  readonly knownBy?: "record";
}

/** A plugin behind an interface that was attached before; only the plugin meets the fault. */
function behind(
  interfaceOf: Interface,
  name: string,
  own: { readonly type: string; readonly [option: string]: unknown },
  { wanted = {}, look = async () => "", knownBy }: Behind,
): Scenario {
  const prepared = new Map<string, { readonly result: unknown; readonly looked: string }>();
  const conf: Conf = (on) => ({
    ...NETWORK,
    ...own,
    ...wanted,
    prevResult: prepared.get(on.containerId)?.result,
  });
  return {
    ...alone(name, own.type, () => ({ ...NETWORK, ...own })),
    ...(knownBy ? { knownBy } : {}),
    prepare: async (on) => {
      const { result } = mustSucceed("ADD of the interface", await interfaceOf.add(on));
      prepared.set(on.containerId, { result, looked: await look(on) });
    },
    add: (on, under) => on.host.call(own.type, { command: "ADD", ...key(on) }, conf(on), under),
    check: (on, { result }, under) =>
      on.host.call(own.type, { command: "CHECK", ...key(on) }, { ...conf(on), prevResult: result }, under),
    finish: async (on, namespace = "same") => {
      const now = namespace === "same" ? await look(on) : prepared.get(on.containerId)?.looked;
      mustSucceed("DEL of the interface", await interfaceOf.del(on, "bare"));
      if (now !== prepared.get(on.containerId)?.looked)
        throw new Error(`not given back: ${prepared.get(on.containerId)?.looked}\nbut: ${now}`);
    },
  };
}

const onBridge = (ranges: readonly string[] = V4): Interface =>
  alone("bridge", "bridge", bridgeConf({}, [...ranges]));

/** An interface without an end in the host. */
const macvlan: Interface = {
  async add({ host, netns }) {
    const ip = (...words: readonly string[]) => host.exec(["ip", "link", ...words], { mustSucceed: false });
    await ip("add", "hdlf0", "type", "bridge");
    const inside = ["nsenter", `--net=${netns}`, "--", "ip", "link"];
    await ip("add", "hdlf1", "link", "hdlf0", "type", "macvlan");
    await ip("set", "hdlf1", "netns", netns.slice("/run/netns/".length), "name", "eth0");
    await run([...inside, "set", "eth0", "up"]);
    const result = { cniVersion: NETWORK.cniVersion, interfaces: [{ name: "eth0", sandbox: netns }] };
    return { code: 0, error: undefined, message: "", result };
  },
  async del({ netns }) {
    // In a new namespace there is none.
    await run(["nsenter", `--net=${netns}`, "--", "ip", "link", "delete", "eth0"], { mustSucceed: false });
    return { code: 0, error: undefined, message: "", result: undefined };
  },
};

const portmap = (name: string, backend: "nftables" | "iptables"): Scenario =>
  behind(
    onBridge(),
    name,
    { type: "portmap", backend },
    { wanted: { runtimeConfig: { portMappings: PORTS } } },
  );

/** A device of the host, which has to be there again with its name, its flags and nothing more. */
function hostDevice(): Scenario {
  const look = async ({ host }: Subject): Promise<string> => {
    const { stdout } = await host.exec(["ip", "-json", "-details", "link", "show", "hdlfd0"]);
    const [link = {}] = JSON.parse(stdout) as Readonly<Record<string, unknown>>[];
    const { ifname, address, mtu, txqlen, ifalias, altnames, flags } = link;
    // Whether the other end has a carrier yet is told a moment later.
    const up = (flags as readonly string[]).includes("UP");
    return JSON.stringify({ ifname, address, mtu, txqlen, ifalias, altnames, up });
  };
  const prepared = new Map<string, string>();
  return {
    ...alone("host-device", "host-device", (on) => ({
      ...NETWORK,
      type: "host-device",
      device: "hdlfd0",
      ipam: ipam(on, V4),
    })),
    // Its marks tell whose it is, and not that it was up.
    knownBy: "record",
    prepare: async (on) => {
      const words = "link add hdlfd0 address 02:00:00:00:fd:00 up type veth peer name hdlfd1";
      await on.host.exec(["ip", ...words.split(" ")]);
      await on.host.exec(["ip", "link", "set", "hdlfd1", "up"]);
      prepared.set(on.containerId, await look(on));
    },
    finish: async (on, namespace = "same") => {
      // A pair that is only virtual goes with the namespace that its end is in.
      if (namespace === "new") return;
      const now = await look(on);
      await on.host.exec(["ip", "link", "delete", "hdlfd0"]);
      if (now !== prepared.get(on.containerId))
        throw new Error(`not given back: ${prepared.get(on.containerId)}\nbut: ${now}`);
    },
  };
}

const firewall = (name: string, backend: "nftables" | "iptables"): Scenario =>
  behind(onBridge(DUAL), name, { type: "firewall", backend, ingressPolicy: "isolated" }, {});

const TUNING = {
  type: "tuning",
  mtu: 1400,
  promisc: true,
  txQLen: 77,
  sysctl: { "net.core.somaxconn": "7", "net.ipv4.conf.IFNAME.arp_filter": "1" },
};
const LIMITS = {
  type: "bandwidth",
  ingressRate: 8_000_000,
  ingressBurst: 800_000,
  egressRate: 8_000_000,
  egressBurst: 800_000,
};
const queues: Look = async (on) =>
  (await on.host.snapshot([on.netns])).filter((l) => /: (qdisc|filter|link bwp)/.test(l)).join("\n");

/** A list through `heddle cni`, in one process. */
function listed(name: string, ipMasqBackend: "nftables" | "iptables"): Scenario {
  const verb = async (on: Subject, command: string, under?: readonly string[]): Promise<PluginReply> => {
    const dir = join(on.host.dir, "net.d");
    mkdirSync(dir, { recursive: true });
    const plugins = [
      bridgeConf({ ipMasq: true, ipMasqBackend })(on),
      { type: "portmap", backend: ipMasqBackend, capabilities: { portMappings: true } },
    ];
    writeFileSync(join(dir, "faults.conflist"), JSON.stringify({ ...NETWORK, plugins }));
    const args = ["cni", command, NETWORK.name, ...(command === "gc" ? [] : [on.netns])];
    const env = { NETCONFPATH: dir, CAP_ARGS: JSON.stringify({ portMappings: PORTS }) };
    const { code, stdout, stderr } = await on.host.cli(args, env, under);
    const error = code !== 0 && /already attached/.test(stderr) ? 101 : undefined;
    return {
      code,
      error,
      message: stderr,
      result: code === 0 && stdout !== "" ? JSON.parse(stdout) : undefined,
    };
  };
  return {
    name,
    add: (on, under) => verb(on, "add", under),
    check: (on, _added, under) => verb(on, "check", under),
    del: (on, _how, under) => verb(on, "del", under),
    gc: (on, under) => verb(on, "gc", under),
  };
}

/** A container of Podman 5, by netavark's calls: its part of the network, and what the network has in the host. */
function ofPodman(): Scenario {
  const PODMAN = "podman";
  const call = async (on: Subject, word: string, netns: string, under?: readonly string[]) => {
    const input = {
      container_id: on.containerId,
      port_mappings: [{ host_port: 9797, container_port: 80 }],
      network: {
        name: PODMAN,
        id: "0f".repeat(32),
        network_interface: "hdlf0",
        subnets: [{ subnet: "10.97.0.0/24", gateway: "10.97.0.1" }],
      },
      network_options: { interface_name: "eth0", static_ips: ["10.97.0.2"] },
    };
    const { code, stdout } = await on.host.cli([word, netns], {}, under, JSON.stringify(input));
    const error = code !== 0 && /already attached/.test(stdout) ? 101 : undefined;
    return { code, error, message: stdout, result: undefined };
  };
  const words = async (on: Subject, argv: readonly string[], under?: readonly string[], env = {}) => {
    const { code, stdout, stderr } = await on.host.cli(argv, env, under);
    return { code, error: undefined, message: stderr, result: undefined, stdout };
  };
  return {
    name: "a container of Podman 5",
    add: (on, under) => call(on, "setup", on.netns, under),
    check: async (on, _added, under) => {
      const { stdout, ...reply } = await words(on, ["ps", "--json"], under);
      if (reply.code !== 0) return reply;
      const found = (JSON.parse(stdout) as { containerId: string; state: string }[]).find(
        ({ containerId }) => containerId === on.containerId,
      );
      return { ...reply, code: found?.state === "ok" ? 0 : 1, message: stdout };
    },
    del: (on, how, under) => call(on, "teardown", how === "full" ? on.netns : "/run/netns/gone", under),
    // Podman does not collect garbage; an operator does.
    gc: async (on, under) => {
      const dir = join(on.host.dir, "net.d");
      mkdirSync(dir, { recursive: true });
      const plugins = [{ type: "bridge" }, { type: "portmap" }, { type: "firewall" }];
      const list = { cniVersion: "1.1.0", name: PODMAN, plugins };
      writeFileSync(join(dir, "podman.conflist"), JSON.stringify(list));
      const first = await words(on, ["cni", "gc", PODMAN], [], { NETCONFPATH: dir });
      return first.code === 0 ? words(on, ["gc"], under) : first;
    },
  };
}

/** The link that others hang on. */
export const MASTER = "hdlm0";

/** One plugin whose interface hangs on a link of the host; what that carries for all is not there on a fresh host. */
const onMaster = (name: string, type: string, more: object = {}, extra: Partial<Scenario> = {}): Scenario =>
  alone(name, type, (on) => ({ ...NETWORK, type, master: MASTER, ipam: ipam(on, DUAL), ...more }), {
    ...extra,
    prepare: async ({ host }) => {
      const { code } = await host.exec(["ip", "link", "show", MASTER], { mustSucceed: false });
      if (code === 0) return;
      const ends = `${MASTER} address 02:00:00:00:97:01 type veth peer name hdlm1 address 02:00:00:00:97:02`;
      const lines = [
        `link add ${ends}`,
        `link set ${MASTER} up`,
        "link set hdlm1 up",
        `address add 10.97.0.254/24 dev ${MASTER}`,
        `address add fd97::254/64 dev ${MASTER} nodad`,
      ];
      await host.exec(["ip", "-batch", "-"], { stdin: `${lines.join("\n")}\n` });
    },
  });

const INSIDE = { knownBy: "inside" } as const;

export const scenarios: readonly Scenario[] = [
  alone("bridge with host-local", "bridge", bridgeConf({ ipMasq: true })),
  alone(
    "bridge with two families, promiscuous, with MAC check",
    "bridge",
    bridgeConf({ ipMasq: true, promiscMode: true, macspoofchk: true, isDefaultGateway: true }, DUAL),
  ),
  alone("bridge with static addresses", "bridge", (on) => ({
    ...bridgeConf({}, DUAL)(on),
    ipam: {
      type: "static",
      addresses: [{ address: "10.97.0.9/24", gateway: "10.97.0.1" }, { address: "fd97::9/64" }],
      routes: [{ dst: "0.0.0.0/0" }],
    },
  })),
  alone("bridge by iptables", "bridge", bridgeConf({ ipMasq: true, ipMasqBackend: "iptables" })),
  alone("ptp", "ptp", (on) => ({ ...NETWORK, type: "ptp", ipMasq: true, ipam: ipam(on, DUAL) })),
  alone("loopback", "loopback", () => ({ ...NETWORK, type: "loopback" }), { knownBy: "record" }),
  onMaster("macvlan with access to the host", "macvlan", { hostAccess: true }, INSIDE),
  onMaster("macvtap", "macvtap", { owner: 7, group: 8, mode: "passthru", mac: "02:00:00:00:97:03" }, INSIDE),
  onMaster(
    "ipvlan with access to the host",
    "ipvlan",
    { hostAccess: true },
    { ...INSIDE, features: ["ipvlan"] },
  ),
  onMaster("vlan", "vlan", { vlanId: 97 }, { ...INSIDE, features: ["vlan"] }),
  alone("dummy", "dummy", (on) => ({ ...NETWORK, type: "dummy", ipam: ipam(on, DUAL) }), {
    ...INSIDE,
    features: ["dummy"],
  }),
  alone(
    "bridge with VLANs and a gateway in one",
    "bridge",
    bridgeConf({ vlan: 100, vlanTrunk: [{ minID: 200, maxID: 300 }] }),
    {
      features: ["bridge vlan"],
    },
  ),
  hostDevice(),
  alone("tap", "tap", (on) => ({ ...NETWORK, type: "tap", owner: 7, group: 8, ipam: ipam(on, V4) }), INSIDE),
  alone(
    "a chain of loopback, bridge and portmap",
    "heddle-chain",
    (on) => ({
      ...NETWORK,
      type: "heddle-chain",
      capabilities: { portMappings: true },
      runtimeConfig: { portMappings: PORTS },
      plugins: [
        { type: "loopback" },
        bridgeConf({ ipMasq: true })(on),
        { type: "portmap", capabilities: { portMappings: true } },
      ],
    }),
    { knownBy: "record" },
  ),
  byFlannel(),
  portmap("portmap", "nftables"),
  portmap("portmap by iptables", "iptables"),
  behind(
    onBridge(),
    "portmap with conditions",
    { type: "portmap", conditionsV4: ["ip saddr != { 192.0.2.0/24, 198.51.100.1 }"] },
    { wanted: { runtimeConfig: { portMappings: PORTS } } },
  ),
  firewall("firewall", "nftables"),
  firewall("firewall by iptables", "iptables"),
  behind(onBridge(DUAL), "tuning", TUNING, {
    look: seen("ip link show eth0", "sysctl net.core.somaxconn net.ipv4.conf.eth0.arp_filter"),
    knownBy: "record",
  }),
  behind(onBridge(DUAL), "sbr", { type: "sbr" }, { look: routing, knownBy: "record" }),
  {
    ...behind(onBridge(DUAL), "vrf", { type: "vrf", vrfname: "red" }, { look: routing, knownBy: "record" }),
    features: ["vrf"],
  },
  behind(onBridge(), "bandwidth", LIMITS, { look: queues, knownBy: "record" }),
  behind(macvlan, "bandwidth in the container", LIMITS, { look: queues, knownBy: "record" }),
  listed("the list through heddle cni", "nftables"),
  listed("the list by iptables through heddle cni", "iptables"),
  ofPodman(),
];
