/**
 * Bad input of every kind, as a runtime or a person may give it: the right code, a sentence that names what is wrong,
 * details, and nothing left behind. By the built executable, as a plugin and as `heddle cni`.
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { cniHost, type CniHost } from "../src/testing/cni-host.ts";
import { type HeddleBinary, heddleBinary } from "../src/testing/executable.ts";
import { testWith, whyNot } from "../src/testing/needs.ts";
import { type TestNetns, testNetns } from "../src/testing/netns.ts";
import { plainEnv } from "../src/testing/run.ts";
import { demand } from "./faults/loop.ts";

const needs = { root: true, programs: ["ip", "nft", "nsenter", "unshare"] };
const kernel = testWith(needs);

type Json = Readonly<Record<string, unknown>>;
interface Site {
  readonly heddle: HeddleBinary;
  readonly host: CniHost;
  /** A container with nothing in it. */
  readonly empty: TestNetns;
  /** A container that is attached: its host port is 9595, its network has no other address. */
  readonly taken: TestNetns;
  readonly result: Json;
}
let site: Site;
const stack = new AsyncDisposableStack();

const ipam = (host: CniHost, more: Json = {}): Json => ({
  type: "host-local",
  dataDir: join(host.dir, "ipam"),
  ranges: [[{ subnet: "10.92.0.0/30" }]],
  ...more,
});
const bridge = (more: Json = {}, host: CniHost = site.host): Json => ({
  cniVersion: "1.1.0",
  name: "bad",
  type: "bridge",
  bridge: "bad0",
  isGateway: true,
  ipMasq: true,
  ipam: ipam(host),
  ...more,
});
const withIpam = (more: Json): Json => bridge({ name: "other", ipam: ipam(site.host, more) });
const withRange = (range: Json): Json => withIpam({ ranges: [[range]] });
const mapped = (port: Json, more: Json = {}): Json => ({
  cniVersion: "1.1.0",
  name: "bad",
  type: "portmap",
  runtimeConfig: { portMappings: [{ hostPort: 9595, containerPort: 80, protocol: "tcp", ...port }] },
  prevResult: {
    cniVersion: "1.1.0",
    interfaces: [{ name: "eth0", sandbox: site.empty.path }],
    ips: [{ interface: 0, address: "10.92.0.2/30", gateway: "10.92.0.1" }],
  },
  ...more,
});
const withPrev = (prevResult: unknown): Json => mapped({}, { prevResult });

beforeAll(async () => {
  if (whyNot(needs) !== undefined) return;
  const heddle = stack.use(await heddleBinary());
  const host = stack.use(await cniHost(heddle));
  const [empty, taken] = [stack.use(await testNetns()), stack.use(await testNetns())];
  const key = { command: "ADD", containerId: "taken", netns: taken.path, ifname: "eth0" } as const;
  const { result = {} } = demand("ADD", await host.call("bridge", key, bridge({}, host)));
  site = { heddle, host, empty, taken, result };
  demand("ADD", await host.call("portmap", key, mapped({}, { prevResult: result })));
  await host.exec(["ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1"]);
  await empty.exec(["ip", "link", "add", "there0", "type", "veth", "peer", "name", "there1"]);
}, 120_000);
afterAll(() => stack.disposeAsync());

const snapshot = () => site.host.snapshot([site.empty.path, site.taken.path]);

interface ErrorJson {
  readonly cniVersion: string;
  readonly code: number;
  readonly msg: string;
  readonly details?: string;
}

/** Calls a plugin for the empty container and gives the error object; the call must fail and change nothing. */
async function refused(input: string | Json, env: Json): Promise<ErrorJson> {
  const before = await snapshot();
  const conf = typeof input === "string" ? input : JSON.stringify(input);
  const type = typeof input === "string" ? "bridge" : String(input["type"]);
  const variables = {
    ...plainEnv,
    HEDDLE_RUN_DIR: join(site.host.dir, "run"),
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "c",
    CNI_NETNS: site.empty.path,
    CNI_IFNAME: "eth0",
    CNI_PATH: site.heddle.cniPath,
    ...env,
  };
  const given = Object.entries(variables).filter((p): p is [string, string] => typeof p[1] === "string");
  const { code, stdout, stderr } = await site.host.exec([site.heddle.at(type)], {
    env: Object.fromEntries(given),
    stdin: conf,
    mustSucceed: false,
  });
  expect({ code, stderr }).toEqual({ code: 1, stderr: "" });
  expect(await snapshot()).toEqual(before);
  const error = JSON.parse(stdout) as ErrorJson;
  expect(error.details).not.toBe("");
  expect(error.details).toBeDefined();
  return error;
}

type Row = readonly [what: string, code: number, says: string, conf: () => string | Json, env?: () => Json];
function refuses(rows: readonly Row[]): void {
  kernel.each(rows)("%s is code %i: %s", async (_, code, says, conf, env) => {
    const error = await refused(conf(), env?.() ?? {});
    expect(error).toMatchObject({ code, msg: expect.stringContaining(says) as string });
  });
}
const set = (env: Json) => (): Json => env;
const good = (): Json => bridge({ name: "other" });

describe("the environment", () => {
  refuses([
    ["a missing container ID", 4, "CNI_CONTAINERID", good, set({ CNI_CONTAINERID: undefined })],
    ["a missing namespace", 4, "CNI_NETNS", good, set({ CNI_NETNS: undefined })],
    ["a missing interface name", 4, "CNI_IFNAME", good, set({ CNI_IFNAME: "" })],
    ["an unknown command", 4, "unknown CNI_COMMAND: add", good, set({ CNI_COMMAND: "add" })],
    ["a container ID that is a path", 4, '"../c"', good, set({ CNI_CONTAINERID: "../c" })],
    ["an interface name with a slash", 4, '"a/b"', good, set({ CNI_IFNAME: "a/b" })],
    ["an interface name with a colon", 4, '"a:b"', good, set({ CNI_IFNAME: "a:b" })],
    ["an interface name of 16 bytes", 4, "15", good, set({ CNI_IFNAME: "a".repeat(16) })],
    ["an interface name that means a folder", 4, '".."', good, set({ CNI_IFNAME: ".." })],
    ["CNI_ARGS that are no pairs", 4, "KEY=VALUE", good, set({ CNI_ARGS: "MAC" })],
    ["CNI_ARGS with an unknown key", 4, "COLOUR", good, set({ CNI_ARGS: "COLOUR=red" })],
    ["a MAC address that is none", 7, "CNI_ARGS MAC", good, set({ CNI_ARGS: "MAC=red" })],
    ["a MAC address of a group", 7, "multicast", good, set({ CNI_ARGS: "MAC=01:00:5e:00:00:01" })],
    ["a MAC address of zeros", 7, "zero", good, set({ CNI_ARGS: "MAC=00:00:00:00:00:00" })],
    ["a missing CNI_PATH", 4, "CNI_PATH", good, set({ CNI_PATH: undefined })],
    ["an IPAM plugin that is nowhere", 106, "host-local", good, set({ CNI_PATH: "/nowhere" })],
    ["an interface that is there", 104, "there0", () => bridge({ ipam: {} }), set({ CNI_IFNAME: "there0" })],
  ]);
});

describe("the namespace", () => {
  refuses([
    ["a path to nothing", 8, "/run/netns/none", good, set({ CNI_NETNS: "/run/netns/none" })],
    ["a file", 8, "/etc/passwd", good, set({ CNI_NETNS: "/etc/passwd" })],
    ["a folder", 8, "/etc", good, set({ CNI_NETNS: "/etc" })],
    ["a device", 8, "/dev/null", good, set({ CNI_NETNS: "/dev/null" })],
    ["a namespace of another kind", 8, "/proc/1/ns/mnt", good, set({ CNI_NETNS: "/proc/1/ns/mnt" })],
    ["the plugin's own", 8, "plugin itself", good, set({ CNI_NETNS: "/proc/self/ns/net" })],
    [
      "of the process, by another path",
      8,
      "itself",
      good,
      () => ({ CNI_NETNS: `/proc/${site.host.pid}/ns/net` }),
    ],
  ]);
});

describe("the configuration", () => {
  refuses([
    ["nothing", 6, "network configuration", () => ""],
    ["broken JSON", 6, "network configuration", () => "{"],
    ["a list", 6, "object", () => "[]"],
    ["a name that is a number", 6, "name", () => '{"cniVersion":"1.1.0","name":7}'],
    ["JSON of great depth", 6, "deep", () => `{"name":"x","a":${"[".repeat(5000)}${"]".repeat(5000)}}`],
    ["no name", 7, "name", () => bridge({ name: undefined })],
    ["a name too long for a folder", 5, "ENAMETOOLONG", () => bridge({ name: "n".repeat(300) })],
    ["a file for a folder of reservations", 5, "passwd", () => withIpam({ dataDir: "/etc/passwd" })],
    ["a resolv.conf that is not there", 5, "/nowhere", () => withIpam({ resolvConf: "/nowhere" })],
    ["a route that is none", 7, "routes", () => withIpam({ routes: [{ dst: "everywhere" }] })],
    [
      "a route by a gateway out of reach",
      105,
      "RTM_NEWROUTE",
      () => ({
        ...bridge({ name: "other", isGateway: false }),
        ipam: ipam(site.host, {
          ranges: [[{ subnet: "10.91.0.0/24" }]],
          routes: [{ dst: "10.1.0.0/16", gw: "10.2.0.1" }],
        }),
      }),
    ],
    ["a name that is a path", 7, '"../x"', () => bridge({ name: "../x" })],
    ["a version of the future", 1, '"9.8.7"', () => bridge({ cniVersion: "9.8.7" })],
    ["a version that is none", 1, '"one"', () => bridge({ cniVersion: "one" })],
    [
      "CHECK below 0.4.0",
      1,
      '"0.3.1" has no CHECK',
      () => bridge({ cniVersion: "0.3.1" }),
      set({ CNI_COMMAND: "CHECK" }),
    ],
    ["GC below 1.1.0", 1, '"1.0.0"', () => bridge({ cniVersion: "1.0.0" }), set({ CNI_COMMAND: "GC" })],
    [
      "STATUS below 1.1.0",
      1,
      '"1.0.0"',
      () => bridge({ cniVersion: "1.0.0" }),
      set({ CNI_COMMAND: "STATUS" }),
    ],
    ["a flag that is a word", 7, "isGateway", () => bridge({ name: "other", isGateway: "yes" })],
    ["a bridge's name that is a path", 7, "bridge", () => bridge({ name: "other", bridge: "../x" })],
    [
      "a bridge that is another link",
      104,
      "other0",
      () => bridge({ name: "other", bridge: "other0", ipam: {} }),
    ],
    ["an MTU below the least", 7, "mtu", () => bridge({ name: "other", mtu: 67 })],
    ["an MTU that is a word", 7, "mtu", () => bridge({ name: "other", mtu: "1500" })],
    ["two options that contradict", 7, "promiscMode", () => bridge({ hairpinMode: true, promiscMode: true })],
    ["an address for a link that is down", 7, "ipam", () => bridge({ disableContainerInterface: true })],
    ["a VLAN that is none", 7, "vlan", () => bridge({ name: "other", vlan: 4095 })],
    ["half a range of VLANs", 7, "vlanTrunk[0].maxID", () => bridge({ vlanTrunk: [{ minID: 7 }] })],
    ["a backend that is none", 7, "ipMasqBackend", () => bridge({ name: "other", ipMasqBackend: "pf" })],
    [
      "an IPAM type that is a path",
      7,
      "../../sh",
      () => bridge({ name: "other", ipam: { type: "../../sh" } }),
    ],
    ["ptp without IPAM", 7, "ipam", () => bridge({ name: "other", type: "ptp", ipam: undefined })],
  ]);
});

describe("addresses", () => {
  refuses([
    ["no range", 7, "range", () => withIpam({ ranges: [] })],
    ["a subnet with host bits", 7, "10.91.0.1/24", () => withRange({ subnet: "10.91.0.1/24" })],
    ["a subnet without room", 7, "/31", () => withRange({ subnet: "10.91.0.0/31" })],
    ["a subnet that is none", 7, "ten", () => withRange({ subnet: "ten" })],
    [
      "a start outside",
      7,
      "rangeStart",
      () => withRange({ subnet: "10.91.0.0/24", rangeStart: "10.90.0.1" }),
    ],
    [
      "an end before the start",
      7,
      "range",
      () => withRange({ subnet: "10.91.0.0/24", rangeStart: "10.91.0.9", rangeEnd: "10.91.0.8" }),
    ],
    [
      "sets that overlap",
      7,
      "overlap",
      () => withIpam({ ranges: [[{ subnet: "10.91.0.0/16" }], [{ subnet: "10.91.1.0/24" }]] }),
    ],
    [
      "a set of two families",
      7,
      "mixes",
      () => withIpam({ ranges: [[{ subnet: "10.91.0.0/24" }, { subnet: "fd91::/64" }]] }),
    ],
    ["a range that is full", 107, "10.92.0.1-10.92.0.2", () => bridge()],
    ["another network on the bridge", 7, "10.92.0.1/30", () => withRange({ subnet: "10.91.0.0/24" })],
    ["an asked address outside", 7, "10.1.1.1", good, set({ CNI_ARGS: "IP=10.1.1.1" })],
    ["an asked address that is taken", 108, "10.92.0.2", () => bridge(), set({ CNI_ARGS: "IP=10.92.0.2" })],
    [
      "a second attachment of the same interface",
      101,
      "already attached",
      () => bridge(),
      () => ({ CNI_CONTAINERID: "taken", CNI_NETNS: site.taken.path }),
    ],
  ]);
});

describe("host ports", () => {
  refuses([
    ["one that is taken", 102, "taken", () => mapped({})],
    ["one that is taken for another address", 102, "9595", () => mapped({ hostIP: "127.0.0.1" })],
    ["one that is taken, by the other backend", 102, "9595", () => mapped({}, { backend: "iptables" })],
    ["0", 7, "hostPort", () => mapped({ hostPort: 0 })],
    ["65536", 7, "hostPort", () => mapped({ hostPort: 65536 })],
    ["half a port", 7, "hostPort", () => mapped({ hostPort: 80.5 })],
    ["a container's port below 1", 7, "containerPort", () => mapped({ hostPort: 9, containerPort: -1 })],
    ["no protocol", 7, "protocol", () => mapped({ hostPort: 9, protocol: undefined })],
    ["a protocol without ports", 7, "protocol", () => mapped({ hostPort: 9, protocol: "icmp" })],
    ["an address that is none", 7, "hostIP", () => mapped({ hostPort: 9, hostIP: "127.0.0" })],
    ["the IPv6 loopback", 7, "loopback", () => mapped({ hostPort: 9, hostIP: "::1" })],
    ["an address of a family that is missing", 7, "hostIP", () => mapped({ hostPort: 9, hostIP: "fd00::1" })],
  ]);
});

describe("the options of firewall", () => {
  const walled = (more: Json): Json => mapped({}, { type: "firewall", runtimeConfig: undefined, ...more });
  refuses([
    ["a backend that there is not", 7, "backend", () => walled({ backend: "ipfw" })],
    ["a policy that there is not", 7, "ingressPolicy", () => walled({ ingressPolicy: "closed" })],
    ["a zone that is no text", 7, "firewalldZone", () => walled({ firewalldZone: 1 })],
    [
      "a chain that is none",
      7,
      "iptablesAdminChainName",
      () => walled({ backend: "iptables", iptablesAdminChainName: "MINE -j DROP" }),
    ],
    [
      "a policy without a link of the host",
      7,
      "ingressPolicy",
      () => walled({ backend: "nftables", ingressPolicy: "isolated" }),
    ],
    ["a version that it does not speak", 1, "0.4.0", () => walled({ cniVersion: "0.3.1" })],
  ]);
});

describe("the conditions of portmap", () => {
  const only = (more: Json): Json => mapped({ hostPort: 9 }, more);
  refuses([
    ["that nft does not know", 7, "conditionsV4", () => only({ conditionsV4: ["ip", "from", "192.0.2.1"] })],
    ["of the other family", 7, "conditionsV4", () => only({ conditionsV4: ["ip6 saddr fd00::1"] })],
    [
      "in words of iptables, by nftables",
      2,
      "conditionsV4",
      () => only({ backend: "nftables", conditionsV4: ["-s", "192.0.2.1"] }),
    ],
    [
      "in words of nft, by iptables",
      2,
      "conditionsV4",
      () => only({ backend: "iptables", conditionsV4: ["ip saddr 192.0.2.1"] }),
    ],
  ]);
});

describe("prevResult", () => {
  const check = set({ CNI_COMMAND: "CHECK" });
  refuses([
    ["that is missing", 7, "prevResult", () => withPrev(undefined)],
    ["that is text", 7, "prevResult", () => withPrev("yes")],
    ["of an unknown version", 7, "9.9.9", () => withPrev({ cniVersion: "9.9.9" })],
    [
      "with an address that is none",
      7,
      "prevResult",
      () => withPrev({ cniVersion: "1.1.0", ips: [{ address: "x" }] }),
    ],
    ["without an address", 7, "eth0", () => withPrev({ cniVersion: "1.1.0", ips: [] })],
    [
      "with an index to no interface",
      7,
      "prevResult",
      () =>
        withPrev({ cniVersion: "1.1.0", interfaces: [], ips: [{ interface: 3, address: "10.92.0.2/30" }] }),
    ],
    ["that is missing in CHECK", 7, "prevResult", () => withPrev(undefined), check],
    ["that is missing in CHECK with IPAM", 7, "prevResult", () => bridge(), check],
    [
      "without the interface in CHECK",
      7,
      "no interface eth0",
      () => bridge({ prevResult: { cniVersion: "1.1.0", interfaces: [{ name: "eth1", sandbox: "/x" }] } }),
      check,
    ],
    ["of a container that is not there", 103, "eth0", () => bridge({ prevResult: site.result }), check],
  ]);
});

describe("heddle cni", () => {
  const list = (plugins: unknown, more: Json = {}): string =>
    JSON.stringify({ cniVersion: "1.1.0", name: "bad", plugins, ...more });
  const one = () => list([bridge({ bridge: "bad1" })]);
  type CliRow = readonly [what: string, says: string, text: () => string, env?: Json, netns?: string];
  kernel.each<CliRow>([
    ["a network that is not there", '"bad"', () => list([bridge()], { name: "good" })],
    ["a list that is broken", "bad.conflist", () => "{"],
    ["a list without plugins", "no plugin", () => list([])],
    ["a plugin without a type", "type", () => list([{}])],
    ["a type that is a path", "../../sh", () => list([{ type: "../../sh" }])],
    ["a type that is nowhere", 'no plugin "none"', () => list([{ type: "none" }])],
    ["a version of the future", '"9.8.7"', () => list([bridge()], { cniVersion: "9.8.7" })],
    ["capabilities that are no JSON", "CAP_ARGS", one, { CAP_ARGS: "{" }],
    ["capabilities that are a list", "CAP_ARGS", one, { CAP_ARGS: "[]" }],
    ["arguments that are no pairs", "CNI_ARGS", one, { CNI_ARGS: "a" }],
    ["an interface name with a slash", '"a/b"', one, { CNI_IFNAME: "a/b" }],
    ["no CNI_PATH", "CNI_PATH", one, { CNI_PATH: "" }],
    ["a folder that is not there", "/nowhere", one, { NETCONFPATH: "/nowhere" }],
    ["a namespace that is not there", "/run/netns/none", one, {}, "/run/netns/none"],
    ["a file for a namespace", "/etc/passwd", one, {}, "/etc/passwd"],
    ["its own namespace", "itself", one, {}, "/proc/self/ns/net"],
    [
      "a port that is taken",
      "9595",
      () =>
        list([
          bridge({ bridge: "bad1", ipam: ipam(site.host, { ranges: [[{ subnet: "10.91.0.0/24" }]] }) }),
          { type: "portmap", capabilities: { portMappings: true } },
        ]),
      { CAP_ARGS: '{"portMappings":[{"hostPort":9595,"containerPort":80,"protocol":"tcp"}]}' },
    ],
  ])("refuses %s in one line that says %s", async (_, says, text, env = {}, netns = site.empty.path) => {
    writeFileSync(join(site.host.dir, "bad.conflist"), text());
    const before = await snapshot();
    const { code, stdout, stderr } = await site.host.cli(["cni", "add", "bad", netns], {
      NETCONFPATH: site.host.dir,
      ...(env as Readonly<Record<string, string>>),
    });
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    const [first = "", ...rest] = stderr.trim().split("\n");
    expect(first).toContain(says);
    expect(first).toStartWith("heddle: ");
    expect(rest.join("\n")).toContain("docs/errors.md");
    const stays = /bad1|ip_forward/;
    expect((await snapshot()).filter((l) => !stays.test(l))).toEqual(before.filter((l) => !stays.test(l)));
  });
});
