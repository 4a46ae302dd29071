/**
 * A host on a network with one more machine, for the plugins that put containers onto that network: traffic, the host's
 * own addresses, and what is left behind.
 *
 *     machine 10.95.0.2 ─ lan ─ up0 10.95.0.1  host
 *             fd95::2              fd95::1
 */
import { join } from "node:path";
import { cniHost, type CniHost, type PluginReply } from "./cni-host.ts";
import type { HeddleBinary } from "./executable.ts";
import { type TestNetns, testNetns } from "./netns.ts";
import { inside } from "./traffic.ts";

type Json = Readonly<Record<string, unknown>>;

export interface Lan extends AsyncDisposable {
  readonly host: CniHost;
  /** The host's own namespace, for traffic. */
  readonly home: string;
  readonly machine: TestNetns;
  container(): Promise<TestNetns>;
  /** Calls a plugin for a container, with the network's name `net` unless `conf` has another. */
  call(verb: "ADD" | "CHECK" | "DEL", at: TestNetns, conf: Json): Promise<PluginReply>;
  /** ADD that must succeed. */
  add(at: TestNetns, conf: Json): Promise<Json>;
  /** `host-local` over the network's addresses from 16 on, in these families. */
  ipam(families?: readonly (4 | 6)[]): Json;
  /** `ip -details link show` of one link in the namespace at a path. */
  link(net: string, name: string): Promise<Json>;
  /** Everything that may be left, of the host and of these containers. */
  snapshot(...containers: readonly TestNetns[]): Promise<readonly string[]>;
}

const ranges = {
  4: { subnet: "10.95.0.0/24", rangeStart: "10.95.0.16", gateway: "10.95.0.2" },
  6: { subnet: "fd95::/64", rangeStart: "fd95::16", gateway: "fd95::2" },
} as const;

export async function lan(heddle: HeddleBinary): Promise<Lan> {
  await using stack = new AsyncDisposableStack();
  const host = stack.use(await cniHost(heddle));
  const machine = stack.use(await testNetns());
  const home = `/proc/${host.pid}/ns/net`;
  const batch = (lines: readonly string[]) => ({ stdin: `${lines.join("\n")}\n` });
  await host.exec(
    ["ip", "-batch", "-"],
    batch([
      `link add up0 type veth peer name lan netns ${machine.name}`,
      "link set up0 up",
      "address add 10.95.0.1/24 dev up0",
      "address add fd95::1/64 dev up0 nodad",
    ]),
  );
  await machine.exec(
    ["ip", "-batch", "-"],
    batch(["link set lan up", "address add 10.95.0.2/24 dev lan", "address add fd95::2/64 dev lan nodad"]),
  );
  const call: Lan["call"] = (command, { path, name }, conf) =>
    host.call(
      String(conf["type"]),
      { command, containerId: name, netns: path, ifname: "eth0" },
      { cniVersion: "1.1.0", name: "net", ...conf },
    );
  const owned = stack.move();
  return {
    host,
    home,
    machine,
    container: async () => owned.use(await testNetns()),
    call,
    add: async (at, conf) => {
      const { code, message, result } = await call("ADD", at, conf);
      if (code !== 0) throw new Error(`ADD failed with ${code}: ${message}`);
      return result ?? {};
    },
    ipam: (families = [4]) => ({
      type: "host-local",
      dataDir: join(host.dir, "ipam"),
      ranges: families.map((family) => [ranges[family]]),
    }),
    link: async (net, name) => {
      const { stdout } = await host.exec([...inside(net), "ip", "-json", "-details", "link", "show", name]);
      return (JSON.parse(stdout) as Json[])[0] ?? {};
    },
    snapshot: (...containers) => host.snapshot(containers.map((c) => c.path)),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** The nth address of a result, without its prefix length. */
export const addressIn = (result: Json, nth = 0): string => {
  const ips = (result["ips"] ?? []) as readonly Json[];
  return String(ips[nth]?.["address"]).split("/")[0] ?? "";
};
