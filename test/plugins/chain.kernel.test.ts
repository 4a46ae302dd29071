/**
 * `heddle-chain` by the built executable: as libcni calls it, and as an entry that `heddle cni` runs. Compared with the
 * plain list on the same kind of host: what is answered, and what is left after each step.
 */
import { describe, expect } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { versions } from "../../src/cni/version.ts";
import { cniHost, type CniHost, type PluginReply } from "../../src/testing/cni-host.ts";
import { heddleOfFile, type PluginCall } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import { demand } from "../faults/loop.ts";

const kernel = testWith({ root: true, programs: ["ip", "nft", "nsenter", "unshare", "strace"] });
const heddle = heddleOfFile();

type Json = Readonly<Record<string, unknown>>;
type Verb = Exclude<PluginCall["command"], "VERSION">;

const PORTS = { portMappings: [{ hostPort: 9696, containerPort: 80, protocol: "tcp" }] };
const bridge = (host: CniHost): Json => ({
  type: "bridge",
  bridge: "chain0",
  isGateway: true,
  ipMasq: true,
  ipam: {
    type: "host-local",
    dataDir: join(host.dir, "ipam"),
    ranges: [[{ subnet: "10.89.0.0/24" }]],
    routes: [{ dst: "0.0.0.0/0" }],
  },
});
const portmap = { type: "portmap", capabilities: { portMappings: true } };
const chain = (...plugins: readonly Json[]): Json => ({
  type: "heddle-chain",
  capabilities: { portMappings: true },
  plugins,
});
type Form = (host: CniHost, cniVersion?: string) => readonly Json[];
const loopback = { type: "loopback" };
/** What usually stands behind an interface, each with the oldest version that it speaks. */
const meta = [
  ["0.1.0", portmap],
  ["0.4.0", { type: "firewall" }],
  ["0.1.0", { type: "tuning", sysctl: { "net.core.somaxconn": "500" }, mtu: 1400 }],
  ["0.3.0", { type: "bandwidth", ingressRate: 8_000_000, ingressBurst: 800_000 }],
] as const;
const metaOf = (cniVersion = "1.1.0"): readonly Json[] =>
  meta.filter(([since]) => since <= cniVersion).map(([, plugin]) => plugin);
const plain: Form = (host, v) => [loopback, bridge(host), ...metaOf(v)];
const packed: Form = (host, v) => [chain(loopback, bridge(host), ...metaOf(v))];
const middle: Form = (host, v) => {
  const [first = {}, ...rest] = metaOf(v);
  return [loopback, chain(bridge(host), first), ...rest];
};

interface Site extends AsyncDisposable {
  readonly host: CniHost;
  readonly container: TestNetns;
}
async function site(): Promise<Site> {
  const stack = new AsyncDisposableStack();
  const [host, container] = [stack.use(await cniHost(heddle)), stack.use(await testNetns())];
  return { host, container, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
/** What libcni does with a list: a process for each entry, `capabilities` left where they are. */
async function libcni(
  { host, container }: Site,
  verb: Verb,
  plugins: readonly Json[],
  { cniVersion = "1.1.0", prevResult }: { readonly cniVersion?: string; readonly prevResult?: Json } = {},
): Promise<PluginReply> {
  const order = verb === "DEL" ? plugins.toReversed() : plugins;
  let prev = prevResult;
  let last: PluginReply | undefined;
  for (const plugin of order) {
    const wants = plugin["capabilities"] !== undefined;
    const about = verb === "GC" || verb === "STATUS";
    const conf = {
      ...plugin,
      cniVersion,
      name: "chained",
      ...(prev && !about ? { prevResult: prev } : {}),
      ...(wants && !about ? { runtimeConfig: PORTS } : {}),
    };
    const key = about ? {} : { containerId: "c1", netns: container.path, ifname: "eth0" };
    last = await host.call(String(plugin["type"]), { command: verb, ...key }, conf);
    if (last.code !== 0) return last;
    if (verb === "ADD") prev = last.result;
  }
  return last ?? { code: 0, error: undefined, message: "", result: undefined };
}

/** Addresses that are drawn, and the paths of this host, made the same. */
function normal(value: unknown, { host, container }: Site): unknown {
  const text = JSON.stringify(value)
    .replaceAll(container.path, "NETNS")
    .replaceAll(container.name, "CONTAINER")
    .replaceAll(host.dir, "DIR")
    .replaceAll(/(ino\\*":|cookie\\*":\\*")\d+/g, "$1N")
    .replaceAll(/(?!00:00:00:00:00:00)(?:[0-9a-f]{2}:){5}[0-9a-f]{2}/g, "MAC");
  return JSON.parse(text) as unknown;
}

describe("as libcni calls it", () => {
  kernel.each(versions.map((v) => [v]))(
    "a chain answers and leaves what its list does (CNI %s)",
    async (cniVersion) => {
      const life = async (form: Form): Promise<unknown> => {
        await using on = await site();
        const plugins = form(on.host, cniVersion);
        const left = async (): Promise<unknown> => normal(await on.host.snapshot([on.container.path]), on);
        const before = await left();
        const added = demand("ADD", await libcni(on, "ADD", plugins, { cniVersion }));
        const prev = { cniVersion, ...(added.result ? { prevResult: added.result } : {}) };
        const attached = await left();
        const check = (await libcni(on, "CHECK", plugins, prev)).error;
        const status = (await libcni(on, "STATUS", plugins, { cniVersion })).error;
        demand("DEL", await libcni(on, "DEL", plugins, prev));
        const deleted = await left();
        const gc = (await libcni(on, "GC", plugins, { cniVersion })).error;
        return { before, result: normal(added.result, on), attached, check, status, deleted, gc };
      };
      const wanted = await life(plain);
      const refused = (since: string): number | undefined => (cniVersion < since ? 1 : undefined);
      expect(wanted).toMatchObject({
        check: refused("0.4.0"),
        status: refused("1.1.0"),
        gc: refused("1.1.0"),
      });
      expect(await life(packed)).toEqual(wanted);
      expect(await life(middle)).toEqual(wanted);
    },
    60_000,
  );

  kernel("a chain of plugins of ours is one process", async () => {
    await using on = await site();
    const trace = join(on.host.dir, "trace");
    const call = { containerId: "c1", netns: on.container.path, ifname: "eth0" };
    const conf = { ...packed(on.host)[0], cniVersion: "1.1.0", name: "chained", runtimeConfig: PORTS };
    for (const command of ["ADD", "DEL"] as const) {
      const under = ["strace", "-f", "-e", "trace=execve", "-o", trace];
      demand(command, await on.host.call("heddle-chain", { command, ...call }, conf, under));
      expect(readFileSync(trace, "utf8").match(/execve\(/g)).toHaveLength(1);
    }
  });

  kernel("when the second plugin fails, the first leaves nothing, and its code is told", async () => {
    await using on = await site();
    await using other = await testNetns();
    demand("other ADD", await libcni(on, "ADD", packed(on.host)));
    const before = await on.host.snapshot([other.path]);
    const reply = await on.host.call(
      "heddle-chain",
      { command: "ADD", containerId: "c2", netns: other.path, ifname: "eth0" },
      { ...packed(on.host)[0], cniVersion: "1.1.0", name: "chained", runtimeConfig: PORTS },
    );
    expect(reply).toMatchObject({ code: 1, error: 102 });
    expect(reply.message).toContain("plugin portmap failed (add): host port 0.0.0.0:9696/tcp is taken");
    const after = await on.host.snapshot([other.path]);
    // The last address given is remembered also when it was given back.
    const kept = (lines: readonly string[]): readonly string[] =>
      lines.filter((line) => !line.includes("last_reserved_ip") && !line.includes(".index"));
    expect(kept(after)).toEqual(kept(before));
    demand("DEL", await libcni(on, "DEL", packed(on.host)));
  });

  kernel("GC of a chain removes what is not valid and keeps what is", async () => {
    await using on = await site();
    const plugins = packed(on.host);
    const added = demand("ADD", await libcni(on, "ADD", plugins));
    const conf = { ...plugins[0], cniVersion: "1.1.0", name: "chained" };
    const valid = { "cni.dev/valid-attachments": [{ containerID: "c1", ifname: "eth0" }] };
    const prev = added.result ? { prevResult: added.result } : {};
    demand("GC", await on.host.call("heddle-chain", { command: "GC" }, { ...conf, ...valid }));
    demand("CHECK", await libcni(on, "CHECK", plugins, prev));
    demand("GC", await on.host.call("heddle-chain", { command: "GC" }, conf));
    expect((await libcni(on, "CHECK", plugins, prev)).error).toBeGreaterThan(0);
    expect((await on.host.exec(["nft", "list", "ruleset"])).stdout).not.toContain("10.89.0.2");
    demand("DEL", await libcni(on, "DEL", plugins));
  });
});

describe("a live attachment", () => {
  const bothWays = [
    ["by a list is checked and removed by a chain", plain, packed],
    ["by a chain is checked and removed by its list", packed, plain],
    ["by a chain is checked and removed by another division of the list", packed, middle],
  ] as const;
  kernel.each(bothWays)("%s, called as libcni calls", async (_, made, removed) => {
    await using on = await site();
    const clean = async (): Promise<readonly string[]> => on.host.snapshot([on.container.path]);
    // One round makes what is shared.
    demand("ADD", await libcni(on, "ADD", plain(on.host)));
    demand("DEL", await libcni(on, "DEL", plain(on.host)));
    const before = await clean();
    const added = demand("ADD", await libcni(on, "ADD", made(on.host)));
    const prev = added.result ? { prevResult: added.result } : {};
    demand("CHECK", await libcni(on, "CHECK", removed(on.host), prev));
    expect((await libcni(on, "ADD", removed(on.host).slice(-1))).error).toBeGreaterThan(0);
    demand("CHECK", await libcni(on, "CHECK", removed(on.host), prev));
    demand("DEL", await libcni(on, "DEL", removed(on.host), prev));
    const kept = (lines: readonly string[]): readonly string[] =>
      lines.filter((line) => !line.includes("last_reserved_ip") && !line.includes(".index"));
    expect(kept(await clean())).toEqual(kept(before));
  });

  kernel.each(bothWays)("%s, by heddle cni", async (_, made, removed) => {
    await using on = await site();
    const nets = join(on.host.dir, "net.d");
    mkdirSync(nets);
    const cni = async (verb: string, form: Form): Promise<void> => {
      const list = { cniVersion: "1.1.0", name: "chained", plugins: form(on.host) };
      writeFileSync(join(nets, "10.conflist"), JSON.stringify(list));
      const env = { NETCONFPATH: nets, CAP_ARGS: JSON.stringify(PORTS) };
      const { code, stderr } = await on.host.cli(["cni", verb, "chained", on.container.path], env);
      expect([verb, code, stderr]).toEqual([verb, 0, ""]);
    };
    await cni("add", made);
    expect((await on.host.exec(["nft", "list", "ruleset"])).stdout).toContain("10.89.0.2");
    await cni("check", removed);
    await cni("status", removed);
    await cni("del", removed);
    expect((await on.host.exec(["nft", "list", "ruleset"])).stdout).not.toContain("10.89.0.2");
    expect(await on.container.exec(["ip", "-o", "link"])).toMatchObject({
      stdout: expect.not.stringContaining("eth0"),
    });
  });
});

kernel("a list that heddle cni packed attaches, and the list itself detaches", async () => {
  await using on = await site();
  const nets = join(on.host.dir, "net.d");
  mkdirSync(nets);
  const file = join(nets, "10.conflist");
  const list = { cniVersion: "1.1.0", name: "chained", plugins: plain(on.host) };
  writeFileSync(file, JSON.stringify(list));
  const cni = async (...args: readonly string[]): Promise<string> => {
    const env = { NETCONFPATH: nets, CAP_ARGS: JSON.stringify(PORTS) };
    const { code, stdout, stderr } = await on.host.cli(["cni", ...args], env);
    expect([args, code, stderr]).toEqual([args, 0, ""]);
    return stdout;
  };
  await cni("pack", "chained", "--output", file);
  expect(JSON.parse(readFileSync(file, "utf8"))).toEqual({ ...list, plugins: packed(on.host) });
  await cni("validate", nets);
  expect(await cni("add", "chained", on.container.path)).toContain("10.89.0.2/24");
  expect((await on.host.exec(["nft", "list", "ruleset"])).stdout).toContain("9696");
  writeFileSync(file, JSON.stringify(list));
  await cni("check", "chained", on.container.path);
  await cni("del", "chained", on.container.path);
  expect((await on.host.exec(["nft", "list", "ruleset"])).stdout).not.toContain("9696");
});

kernel("heddle gc removes what a chain attached when its container is gone", async () => {
  await using on = await site();
  const nets = join(on.host.dir, "net.d");
  mkdirSync(nets);
  const list = { cniVersion: "1.1.0", name: "chained", plugins: packed(on.host) };
  writeFileSync(join(nets, "10.conflist"), JSON.stringify(list));
  const env = { NETCONFPATH: nets, CAP_ARGS: JSON.stringify(PORTS) };
  await using gone = await testNetns();
  expect((await on.host.cli(["cni", "add", "chained", gone.path], env)).code).toBe(0);
  await gone[Symbol.asyncDispose]();
  expect(await on.host.cli(["gc"], env)).toMatchObject({ code: 0 });
  const left = (await on.host.snapshot()).join("\n");
  expect(left).not.toContain("9696");
  expect(left).not.toContain("attachments/heddle-");
});

kernel("a plugin that is not in this executable is executed, with the result of the one before", async () => {
  await using on = await site();
  const bin = join(on.host.dir, "bin");
  mkdirSync(bin);
  for (const name of ["heddle-chain", "bridge", "host-local"]) symlinkSync(heddle.path, join(bin, name));
  const stranger = join(bin, "stranger");
  const reached = join(on.host.dir, "reached");
  // Passes the previous result on, and notes what it was told.
  writeFileSync(
    stranger,
    `#!${process.execPath}
     import { appendFileSync } from "node:fs";
     const conf = JSON.parse(await Bun.stdin.text());
     appendFileSync(${JSON.stringify(reached)}, process.env.CNI_COMMAND + " " + Object.keys(conf).sort().join() + "\\n");
     if (process.env.CNI_COMMAND === "ADD") console.log(JSON.stringify(conf.prevResult));`,
  );
  chmodSync(stranger, 0o755);
  const conf = {
    ...chain(bridge(on.host), { type: "stranger", own: 1, capabilities: { portMappings: true } }),
    cniVersion: "1.0.0",
    name: "chained",
    runtimeConfig: PORTS,
  };
  const call = { containerId: "c1", netns: on.container.path, ifname: "eth0", env: { CNI_PATH: bin } };
  const added = demand(
    "ADD",
    await on.host.call(join(bin, "heddle-chain"), { command: "ADD", ...call }, conf),
  );
  expect(added.result).toMatchObject({ ips: [{ address: "10.89.0.2/24" }] });
  const prev = { prevResult: added.result };
  demand(
    "DEL",
    await on.host.call(join(bin, "heddle-chain"), { command: "DEL", ...call }, { ...conf, ...prev }),
  );
  const told = "cniVersion,name,own,prevResult,runtimeConfig,type";
  expect(readFileSync(reached, "utf8")).toBe(`ADD ${told}\nDEL ${told}\n`);
});
