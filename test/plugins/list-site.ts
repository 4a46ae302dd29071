/**
 * A host on which lists of plugins are called one plugin after the other, as a runtime does: with the previous result in
 * ADD, the final result in CHECK, and backwards in DEL. For tests of plugins that come after others.
 */
import { join } from "node:path";
import { cniHost, type CniHost, type PluginReply } from "../../src/testing/cni-host.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import { inside } from "../../src/testing/traffic.ts";

export type Json = Readonly<Record<string, unknown>>;

/** Whose call it is, and by which program. */
export interface Of {
  readonly ifname?: string;
  readonly args?: string;
  /** The directory of another implementation's executables. */
  readonly by?: string;
  /** Of DEL: the runtime knows of no namespace, and of no previous result. */
  readonly bare?: boolean;
}

export interface ListSite extends AsyncDisposable {
  readonly host: CniHost;
  /** The host's own namespace, for traffic. */
  readonly home: string;
  container(): Promise<TestNetns>;
  /** One call, whatever it answers. */
  call(verb: "ADD" | "CHECK" | "DEL" | "GC", at: TestNetns, conf: Json, of?: Of): Promise<PluginReply>;
  /** ADD of each plugin; the final result. Throws if one fails. */
  add(at: TestNetns, plugins: readonly Json[], of?: Of): Promise<Json>;
  /** CHECK of each plugin with the final result. Throws if one fails. */
  check(at: TestNetns, plugins: readonly Json[], result: Json, of?: Of): Promise<void>;
  /** DEL of each plugin, the last first. Throws if one fails. */
  del(at: TestNetns, plugins: readonly Json[], result: Json, of?: Of): Promise<void>;
  /** The value of a kernel parameter in a namespace. */
  sysctl(net: string, key: string): Promise<string>;
  /** What `ip` prints as JSON in a namespace. */
  ip(net: string, ...words: readonly string[]): Promise<readonly Json[]>;
}

const NETWORK = { cniVersion: "1.1.0", name: "lists" };

export async function listSite(heddle: HeddleBinary): Promise<ListSite> {
  await using stack = new AsyncDisposableStack();
  const host = stack.use(await cniHost(heddle));
  const call: ListSite["call"] = (command, { path, name }, conf, of = {}) => {
    const type = String(conf["type"]);
    const key = { containerId: name, ifname: of.ifname ?? "eth0", ...(of.bare ? {} : { netns: path }) };
    const env = of.by === undefined ? {} : { env: { CNI_PATH: of.by } };
    return host.call(
      of.by === undefined ? type : join(of.by, type),
      { command, ...key, ...(of.args ? { args: of.args } : {}), ...env },
      { ...NETWORK, ...conf },
    );
  };
  const must = async (verb: "ADD" | "CHECK" | "DEL", at: TestNetns, conf: Json, of?: Of): Promise<Json> => {
    const reply = await call(verb, at, conf, of);
    if (reply.code !== 0)
      throw new Error(`${verb} of ${String(conf["type"])} failed with ${reply.code}: ${reply.message}`);
    return reply.result ?? {};
  };
  const read = async (net: string, argv: readonly string[]): Promise<string> =>
    (await host.exec([...inside(net), ...argv])).stdout;
  const owned = stack.move();
  return {
    host,
    home: `/proc/${host.pid}/ns/net`,
    container: async () => owned.use(await testNetns()),
    call,
    add: async (at, plugins, of) => {
      let prevResult: Json | undefined;
      for (const conf of plugins)
        prevResult = await must("ADD", at, { ...conf, ...(prevResult ? { prevResult } : {}) }, of);
      return prevResult ?? {};
    },
    check: async (at, plugins, prevResult, of) => {
      for (const conf of plugins) await must("CHECK", at, { ...conf, prevResult }, of);
    },
    del: async (at, plugins, prevResult, of) => {
      const known = of?.bare ? {} : { prevResult };
      for (const conf of plugins.toReversed()) await must("DEL", at, { ...conf, ...known }, of);
    },
    sysctl: async (net, key) => (await read(net, ["cat", `/proc/sys/${key}`])).trim(),
    ip: async (net, ...words) => JSON.parse((await read(net, ["ip", "-json", ...words])) || "[]") as Json[],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** A bridge network with host-local addresses in these subnets. */
export const bridgeOn = ({ host }: ListSite, subnets: readonly string[], more: Json = {}): Json => ({
  type: "bridge",
  bridge: "lists0",
  isGateway: true,
  ipam: {
    type: "host-local",
    dataDir: join(host.dir, "ipam"),
    ranges: subnets.map((subnet) => [{ subnet }]),
    routes: subnets.map((subnet) => ({ dst: subnet.includes(":") ? "::/0" : "0.0.0.0/0" })),
  },
  ...more,
});

/** The address of a result, without its prefix length. */
export const addressIn = (result: Json, nth = 0): string =>
  String((result["ips"] as readonly Json[])[nth]?.["address"]).split("/")[0] ?? "";
