/** Limits as containers feel them: real traffic through the executable's `bandwidth`, behind several kinds of interfaces. */
import { describe, expect } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { cniHost, type CniHost, type PluginReply } from "../../src/testing/cni-host.ts";
import { untilOnly } from "../../src/testing/dying.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { onKernelWith, testWith, whyNot } from "../../src/testing/needs.ts";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import { peerProgram } from "../../src/testing/peer.ts";
import { run } from "../../src/testing/run.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { takeSpareNics } from "../../src/testing/spare-nics.ts";
import { transferMs } from "../../src/testing/traffic.ts";
import { demand } from "../faults/loop.ts";

const needs = { root: true, programs: ["ip", "tc", "nsenter", "unshare"] };
const kernel = testWith(needs);
const reference = whyNot(needs) === undefined ? await peerProgram("bandwidth") : undefined;
const besideReference = testWith({
  ...needs,
  feature: reference === undefined ? "needs the reference plugins" : true,
});

const heddle = heddleOfFile();

type Json = Readonly<Record<string, unknown>>;
const NETWORK = { cniVersion: "1.1.0", name: "limited" } as const;
/** A quarter of a megabyte in a second, and 20 kB at once. */
const RATE = 2_000_000;
const BURST = 160_000;
const INGRESS = { ingressRate: RATE, ingressBurst: BURST };
const EGRESS = { egressRate: RATE, egressBurst: BURST };
const BYTES = 220_000;
/** What is over the burst takes 800 ms at that rate, whatever else the machine does. */
const LEAST_MS = 700;
/** Without a limit it takes five; a busy machine may need more. */
const FREE_MS = patience(500);

/** A container that is attached, and where traffic comes from and goes to. */
interface Subject extends AsyncDisposable {
  readonly host: CniHost;
  readonly netns: TestNetns;
  readonly prevResult: Json;
  readonly address: string;
  readonly peer: { readonly netns: string; readonly address: string };
}

const key = (on: Pick<Subject, "netns">, ifname = "eth0") => ({
  containerId: "c1",
  netns: on.netns.path,
  ifname,
});
const call = (
  on: Subject,
  command: "ADD" | "CHECK" | "DEL" | "GC" | "STATUS",
  conf: Json,
  more: object = {},
  program = "bandwidth",
): Promise<PluginReply> =>
  on.host.call(
    program,
    { command, ...key(on), ...more },
    { ...NETWORK, type: "bandwidth", prevResult: on.prevResult, ...conf },
  );

/** Behind `bridge` or `ptp`; the other side is the host. */
async function onPair(type: "bridge" | "ptp"): Promise<Subject> {
  const stack = new AsyncDisposableStack();
  const host = stack.use(await cniHost(heddle));
  const netns = stack.use(await testNetns());
  const conf = {
    ...NETWORK,
    type,
    ...(type === "bridge" ? { bridge: "bw0", isGateway: true } : {}),
    ipam: { type: "host-local", dataDir: join(host.dir, "ipam"), ranges: [[{ subnet: "10.93.0.0/24" }]] },
  };
  const add = await host.call(type, { command: "ADD", ...key({ netns }) }, conf);
  return {
    host,
    netns,
    prevResult: demand("ADD", add).result ?? {},
    address: "10.93.0.2",
    peer: { netns: `/proc/${host.pid}/ns/net`, address: "10.93.0.1" },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** An interface without an end in the host; the other side is a namespace outside. `make` puts `eth0` into both. */
async function onOther(
  make: (on: {
    host: CniHost;
    netns: TestNetns;
    outside: TestNetns;
    stack: AsyncDisposableStack;
  }) => Promise<void>,
): Promise<Subject> {
  const stack = new AsyncDisposableStack();
  // Before the host, which sees the mounts of namespaces only if the first one was there.
  const [netns, outside] = [stack.use(await testNetns()), stack.use(await testNetns())];
  const host = stack.use(await cniHost(heddle));
  await make({ host, netns, outside, stack });
  for (const [where, address] of [
    [netns, "10.93.1.2/24"],
    [outside, "10.93.1.1/24"],
  ] as const) {
    await where.exec(["ip", "address", "add", address, "dev", "eth0"]);
    await where.exec(["ip", "link", "set", "eth0", "up"]);
  }
  return {
    host,
    netns,
    prevResult: {
      cniVersion: NETWORK.cniVersion,
      interfaces: [{ name: "eth0", sandbox: netns.path }],
      ips: [{ address: "10.93.1.2/24", interface: 0 }],
    },
    address: "10.93.1.2",
    peer: { netns: outside.path, address: "10.93.1.1" },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** On a link of the host that leads outside. */
const upon = (kind: string): Promise<Subject> =>
  onOther(async ({ host, netns, outside }) => {
    for (const words of [
      `link add up0 type veth peer name wire netns ${outside.name}`,
      "link set up0 up",
      `link add up1 link up0 type ${kind}`,
      `link set up1 netns ${netns.name} name eth0`,
    ])
      await host.exec(["ip", ...words.split(" ")]);
    await outside.exec(["ip", "link", "set", "wire", "up"]);
    const other = kind.startsWith("vlan") ? kind : "macvlan mode bridge";
    await outside.exec(["ip", ...`link add eth0 link wire type ${other}`.split(" ")]);
  });

/** A network device itself, with a wire to another one. */
const onDevice = (): Promise<Subject> =>
  onOther(async ({ netns, outside, stack }) => {
    const [one, two] = stack.use(await takeSpareNics()).names;
    await run(["ip", "link", "set", one, "netns", netns.name, "name", "eth0"]);
    await run(["ip", "link", "set", two, "netns", outside.name, "name", "eth0"]);
  });

const subjects = [
  ["bridge", () => onPair("bridge")],
  ["ptp", () => onPair("ptp")],
  ["macvlan", () => upon("macvlan mode bridge")],
] as const;

const receives = (on: Subject): Promise<number> =>
  transferMs(on.peer.netns, { netns: on.netns.path, address: on.address, port: 9000 }, BYTES);
const sends = (on: Subject): Promise<number> => transferMs(on.netns.path, { ...on.peer, port: 9001 }, BYTES);

function limitsHold(attach: () => Promise<Subject>): void {
  kernel("receives at its rate, and sends without a limit", async () => {
    await using on = await attach();
    demand("ADD", await call(on, "ADD", INGRESS));
    expect(await receives(on)).toBeGreaterThan(LEAST_MS);
    expect(await sends(on)).toBeLessThan(FREE_MS);
  });

  kernel("sends at its rate, and receives without a limit", async () => {
    await using on = await attach();
    demand("ADD", await call(on, "ADD", EGRESS));
    expect(await sends(on)).toBeGreaterThan(LEAST_MS);
    expect(await receives(on)).toBeLessThan(FREE_MS);
  });

  kernel("is free again after DEL, and as it was before", async () => {
    await using on = await attach();
    const before = await on.host.snapshot([on.netns.path]);
    const conf = { ...INGRESS, ...EGRESS };
    const { result } = demand("ADD", await call(on, "ADD", conf));
    demand("CHECK", await call(on, "CHECK", { ...conf, prevResult: result }));
    expect((await call(on, "ADD", conf)).error).toBe(101);
    for (const _ of [1, 2]) demand("DEL", await call(on, "DEL", {}, { netns: undefined }));
    expect(await on.host.snapshot([on.netns.path])).toEqual(before);
    expect(await receives(on)).toBeLessThan(FREE_MS);
    expect(await sends(on)).toBeLessThan(FREE_MS);
  });

  kernel("is free again after DEL when the record is lost", async () => {
    await using on = await attach();
    const before = await on.host.snapshot([on.netns.path]);
    demand("ADD", await call(on, "ADD", { ...INGRESS, ...EGRESS }));
    rmSync(join(on.host.dir, "run"), { recursive: true });
    // The configuration may have changed, too, and may be wrong.
    demand("DEL", await call(on, "DEL", { ingressRate: -1, prevResult: undefined }));
    const known = before.filter((line) => !line.startsWith("file run/"));
    expect(await on.host.snapshot([on.netns.path])).toEqual(known);
  });

  kernel("is free again after GC that does not know it", async () => {
    await using on = await attach();
    const before = await on.host.snapshot([on.netns.path]);
    demand("ADD", await call(on, "ADD", { ...INGRESS, ...EGRESS }));
    const keep = { "cni.dev/valid-attachments": [{ containerID: "c1", ifname: "eth0" }] };
    const limited = await on.host.snapshot([on.netns.path]);
    demand("GC", await call(on, "GC", keep));
    expect(await on.host.snapshot([on.netns.path])).toEqual(limited);
    demand("GC", await call(on, "GC", { "cni.dev/valid-attachments": [] }));
    expect(await on.host.snapshot([on.netns.path])).toEqual(before);
  });

  kernel("has the limits of the runtime if the list has none", async () => {
    await using on = await attach();
    const { result } = demand("ADD", await call(on, "ADD", { runtimeConfig: { bandwidth: EGRESS } }));
    expect(await sends(on)).toBeGreaterThan(LEAST_MS);
    demand("CHECK", await call(on, "CHECK", { ...EGRESS, prevResult: result }));
    const other = await call(on, "CHECK", { ...EGRESS, egressRate: RATE + 8, prevResult: result });
    expect(other.error).toBe(103);
    expect(other.message).toContain("rateBytes");
  });
}

describe.each(subjects)("a container on %s", (_name, attach) => limitsHold(attach));

/** The same in short, for a machine on which everything takes long. */
const bothWays = (where: string, attach: () => Promise<Subject>): void =>
  kernel(
    `a container on ${where} receives and sends at its rate, and is as it was before after DEL`,
    async () => {
      await using on = await attach();
      const before = await on.host.snapshot([on.netns.path]);
      const conf = { ...INGRESS, ...EGRESS };
      const { result } = demand("ADD", await call(on, "ADD", conf));
      expect(await receives(on)).toBeGreaterThan(LEAST_MS);
      expect(await sends(on)).toBeGreaterThan(LEAST_MS);
      demand("CHECK", await call(on, "CHECK", { ...conf, prevResult: result }));
      demand("DEL", await call(on, "DEL", {}));
      expect(await on.host.snapshot([on.netns.path])).toEqual(before);
    },
    patience(30_000),
  );
onKernelWith(["ipvlan"], () => bothWays("ipvlan", () => upon("ipvlan mode l2")));
onKernelWith(["vlan"], () => bothWays("a VLAN", () => upon("vlan id 5")));
onKernelWith(["spare nics"], () => bothWays("a network device", onDevice));

kernel("two interfaces of one container in a network each have their limits", async () => {
  await using on = await onPair("ptp");
  const second = { ...key(on, "net1") };
  const ipam = { type: "host-local", dataDir: join(on.host.dir, "ipam"), subnet: "10.94.0.0/24" };
  const ptp = { ...NETWORK, type: "ptp", ipam };
  const { result: prevResult } = demand("ADD", await on.host.call("ptp", { command: "ADD", ...second }, ptp));
  const before = await on.host.snapshot();
  demand("ADD", await call(on, "ADD", EGRESS));
  demand("ADD", await call(on, "ADD", { ...EGRESS, prevResult }, { ifname: "net1" }));
  const shapers = (lines: readonly string[]) => lines.filter((line) => line.includes("link bwp")).length;
  expect(shapers(await on.host.snapshot())).toBe(2);
  demand("DEL", await call(on, "DEL", {}));
  expect(shapers(await on.host.snapshot())).toBe(1);
  expect(
    await transferMs(on.netns.path, { ...on.peer, address: "10.94.0.1", port: 9002 }, BYTES),
  ).toBeGreaterThan(LEAST_MS);
  demand("DEL", await call(on, "DEL", {}, { ifname: "net1" }));
  expect(await on.host.snapshot()).toEqual(before);
});

kernel("a container that is gone leaves nothing after DEL", async () => {
  await using on = await onPair("ptp");
  demand("ADD", await call(on, "ADD", { ...INGRESS, ...EGRESS }));
  await on.host.exec(["ip", "netns", "delete", on.netns.name]);
  demand("DEL", await call(on, "DEL", {}));
  expect((await on.host.snapshot()).filter((line) => /bwp|qdisc|bandwidth/.test(line))).toEqual([]);
});

kernel("a queue or program of others on the link is respected, and named", async () => {
  await using on = await onPair("ptp");
  const veth = (on.prevResult["interfaces"] as { name: string }[])[0]?.name ?? "";
  await on.host.exec(["tc", "qdisc", "add", "dev", veth, "root", "handle", "5:", "pfifo"]);
  await on.host.exec(["tc", "qdisc", "add", "dev", veth, "ingress"]);
  const before = await on.host.snapshot();
  const refused = await call(on, "ADD", { ...INGRESS, ...EGRESS });
  expect(refused.error).toBe(104);
  expect(refused.message).toContain(`qdisc pfifo 5: at the root of ${veth}`);
  expect(await on.host.snapshot()).toEqual(before);
  demand("ADD", await call(on, "ADD", EGRESS));
  expect(await sends(on)).toBeGreaterThan(LEAST_MS);
  demand("DEL", await call(on, "DEL", {}));
  expect(await on.host.snapshot()).toEqual(before);
});

kernel("rates beyond 32 bits of bytes are what the kernel has", async () => {
  await using on = await onPair("ptp");
  const conf = { ingressRate: 80_000_000_000, ingressBurst: 80_000_000 };
  const { result } = demand("ADD", await call(on, "ADD", conf));
  expect((await on.host.exec(["tc", "qdisc", "show"])).stdout).toContain("rate 80Gbit burst 10000000b");
  demand("CHECK", await call(on, "CHECK", { ...conf, prevResult: result }));
});

kernel("a result is passed on as it came when there is nothing to limit", async () => {
  await using on = await onPair("ptp");
  const before = await on.host.snapshot([on.netns.path]);
  for (const conf of [{}, { ingressRate: 0, ingressBurst: 0 }])
    expect(demand("ADD", await call(on, "ADD", conf)).result).toEqual(on.prevResult);
  demand("CHECK", await call(on, "CHECK", {}));
  demand("DEL", await call(on, "DEL", {}));
  expect(await on.host.snapshot([on.netns.path])).toEqual(before);
});

kernel("a call without a previous result, or without the interface, is a clear error", async () => {
  await using on = await onPair("ptp");
  for (const conf of [INGRESS, {}]) {
    const { error, message } = await call(on, "ADD", { ...conf, prevResult: undefined });
    expect(error).toBe(7);
    expect(message).toContain("comes after another plugin");
  }
  const { error, message } = await call(on, "ADD", INGRESS, { ifname: "eth9" });
  expect(error).toBe(7);
  expect(message).toContain("no interface eth9");
});

kernel("STATUS succeeds on a kernel that has what limits need, and changes nothing", async () => {
  await using on = await onPair("ptp");
  const before = await on.host.snapshot();
  demand("STATUS", await call(on, "STATUS", {}));
  expect(await on.host.snapshot()).toEqual(before);
});

describe("beside the reference", () => {
  const theirs = (on: Subject, command: "ADD" | "CHECK" | "DEL", conf: Json, more: object = {}) =>
    call(on, command, conf, more, reference);
  const BOTH = { ...INGRESS, ...EGRESS };

  besideReference.each([
    [8, 8],
    [8_000_000, 800_000],
    [98_765_432, 4_345_678],
    [80_000_000_000, 8_000_000],
    [1_000_000_000_000, 800_000_000],
  ])("%d bit/s with bursts of %d are the same numbers in the kernel", async (rate, burst) => {
    await using on = await onPair("ptp");
    const conf = { ingressRate: rate, ingressBurst: burst, egressRate: rate, egressBurst: burst };
    const shown = async (): Promise<readonly string[]> => {
      const { stdout } = await on.host.exec(["tc", "-json", "qdisc", "show"]);
      const all = JSON.parse(stdout) as { kind: string; options: object }[];
      return all.filter((q) => q.kind === "tbf").map((q) => JSON.stringify(q.options));
    };
    demand("ADD by the reference", await theirs(on, "ADD", conf));
    const wanted = await shown();
    demand("DEL", await call(on, "DEL", conf));
    demand("ADD", await call(on, "ADD", conf));
    expect(await shown()).toEqual(wanted);
    expect(wanted).toHaveLength(2);
  });

  besideReference("what either made is accepted by CHECK of the other", async () => {
    await using on = await onPair("bridge");
    const first = demand("ADD", await call(on, "ADD", BOTH));
    demand("CHECK by the reference", await theirs(on, "CHECK", { ...BOTH, prevResult: first.result }));
    demand("DEL", await call(on, "DEL", BOTH));
    const second = demand("ADD by the reference", await theirs(on, "ADD", BOTH));
    demand("CHECK", await call(on, "CHECK", { ...BOTH, prevResult: second.result }));
    const other = { ...BOTH, egressRate: RATE * 2, prevResult: second.result };
    expect((await call(on, "CHECK", other)).error).toBe(103);
  });

  besideReference("what the reference made is gone after DEL", async () => {
    await using on = await onPair("bridge");
    const before = await on.host.snapshot([on.netns.path]);
    demand("ADD by the reference", await theirs(on, "ADD", BOTH));
    for (const _ of [1, 2]) demand("DEL", await call(on, "DEL", { ...BOTH, prevResult: undefined }));
    expect(await on.host.snapshot([on.netns.path])).toEqual(before);
    expect(await sends(on)).toBeLessThan(FREE_MS);
  });

  besideReference("what the reference made for a container that is gone is gone after DEL", async () => {
    await using on = await onPair("ptp");
    demand("ADD by the reference", await theirs(on, "ADD", BOTH));
    await on.host.exec(["ip", "netns", "delete", on.netns.name]);
    demand("DEL", await call(on, "DEL", { prevResult: undefined }, { netns: undefined }));
    await untilOnly(on.host);
    expect((await on.host.snapshot()).filter((line) => /bwp|qdisc/.test(line))).toEqual([]);
  });

  besideReference("what the reference made for another interface of the container stays", async () => {
    await using on = await onPair("ptp");
    const ipam = { type: "host-local", dataDir: join(on.host.dir, "ipam"), subnet: "10.94.0.0/24" };
    const second = { command: "ADD", ...key(on, "net1") } as const;
    demand("ADD", await on.host.call("ptp", second, { ...NETWORK, type: "ptp", ipam }));
    demand("ADD by the reference", await theirs(on, "ADD", BOTH));
    const limited = await on.host.snapshot();
    demand("DEL", await call(on, "DEL", {}, { ifname: "net1" }));
    expect(await on.host.snapshot()).toEqual(limited);
  });

  besideReference("DEL of the reference takes the shaper, and ours the rest", async () => {
    await using on = await onPair("ptp");
    const before = await on.host.snapshot();
    demand("ADD", await call(on, "ADD", BOTH));
    demand("DEL by the reference", await theirs(on, "DEL", BOTH));
    expect((await on.host.snapshot()).filter((line) => line.includes("link bwp"))).toEqual([]);
    demand("DEL", await call(on, "DEL", BOTH));
    expect(await on.host.snapshot()).toEqual(before);
  });
});
