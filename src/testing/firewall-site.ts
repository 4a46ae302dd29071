/**
 * A host with an uplink for tests of `firewall`: containers on bridges of their own, each attached by `bridge` and then by
 * `firewall` with the options of the test.
 *
 *     outside 192.0.2.2 ── 192.0.2.1 host ─┬─ foo0 10.91.0.0/24 fd91::/64
 *             2001:db8::2 ── 2001:db8::1   └─ bar0 10.92.0.0/24 fd92::/64
 */
import { join } from "node:path";
import { type CniHost, cniHost, type PluginReply } from "./cni-host.ts";
import type { HeddleBinary } from "./executable.ts";
import { type TestNetns, testNetns } from "./netns.ts";

type Json = Readonly<Record<string, unknown>>;
export type Network = "foo" | "bar";

export interface Attached {
  readonly netns: TestNetns;
  readonly network: Network;
  readonly conf: Json;
  readonly address4: string;
  readonly address6: string;
  /** What `bridge` answered. */
  readonly result: Json;
}

export interface FirewallSite extends AsyncDisposable {
  readonly host: CniHost;
  /** The host's namespace. */
  readonly home: string;
  readonly outside: TestNetns;
  /** Variables of each call of `firewall`. */
  readonly env: Readonly<Record<string, string>>;
  container(): Promise<TestNetns>;
  /** Attaches by `bridge`, and by `firewall` if options are given. */
  attach(netns: TestNetns, network: Network, options?: Json): Promise<Attached>;
  /** One verb of `firewall`; `more` replaces keys of its configuration. */
  firewall(verb: "ADD" | "CHECK" | "DEL" | "GC" | "STATUS", of: Attached, more?: Json): Promise<PluginReply>;
  /** DEL of both, by the key alone. */
  detach(of: Attached): Promise<void>;
}

const subnets: Readonly<Record<Network, readonly string[]>> = {
  foo: ["10.91.0.0/24", "fd91::/64"],
  bar: ["10.92.0.0/24", "fd92::/64"],
};

export async function firewallSite(
  heddle: HeddleBinary,
  env: Readonly<Record<string, string>> = {},
  bridge: Json = {},
): Promise<FirewallSite> {
  const stack = new AsyncDisposableStack();
  const host = stack.use(await cniHost(heddle));
  const outside = stack.use(await testNetns());
  await connect(host, outside);
  const bridgeConf = (network: Network): Json => ({
    cniVersion: "1.1.0",
    name: network,
    type: "bridge",
    bridge: `${network}0`,
    isGateway: true,
    ...bridge,
    ipam: {
      type: "host-local",
      dataDir: join(host.dir, "ipam"),
      ranges: subnets[network].map((subnet) => [{ subnet }]),
      routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
    },
  });
  const keyOf = (netns: TestNetns) => ({ containerId: netns.name, netns: netns.path, ifname: "eth0", env });
  const site: FirewallSite = {
    host,
    home: `/proc/${host.pid}/ns/net`,
    outside,
    env,
    container: async () => stack.use(await testNetns()),
    attach: async (netns, network, options) => {
      const { result } = must(
        await host.call("bridge", { command: "ADD", ...keyOf(netns) }, bridgeConf(network)),
      );
      const addresses = ((result?.["ips"] ?? []) as readonly Json[]).map(
        (ip) => String(ip["address"]).split("/")[0] ?? "",
      );
      const [address4 = "", address6 = ""] = addresses;
      const conf = { cniVersion: "1.1.0", name: network, type: "firewall", ...options };
      const attached = { netns, network, conf, address4, address6, result: result ?? {} };
      if (options !== undefined) must(await site.firewall("ADD", attached));
      return attached;
    },
    firewall: (command, { netns, conf, result }, more = {}) =>
      host.call("firewall", { command, ...keyOf(netns) }, { ...conf, prevResult: result, ...more }),
    detach: async ({ netns, network, conf }) => {
      const { containerId, ifname } = keyOf(netns);
      must(await host.call("firewall", { command: "DEL", containerId, ifname, env }, conf));
      must(await host.call("bridge", { command: "DEL", containerId, ifname }, bridgeConf(network)));
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
  return site;
}

async function connect(host: CniHost, outside: TestNetns): Promise<void> {
  await host.exec(["ip", "-batch", "-"], {
    stdin: [
      "link add up0 type veth peer name up1",
      `link set up1 netns ${outside.name}`,
      "address add 192.0.2.1/24 dev up0",
      "address add 2001:db8::1/64 dev up0 nodad",
      "link set up0 up",
    ].join("\n"),
  });
  await outside.exec(["ip", "-batch", "-"], {
    stdin: [
      "address add 192.0.2.2/24 dev up1",
      "address add 2001:db8::2/64 dev up1 nodad",
      "link set up1 up",
      "route add 10.64.0.0/10 via 192.0.2.1",
      "route add fd00::/8 via 2001:db8::1",
    ].join("\n"),
  });
}

function must(reply: PluginReply): PluginReply {
  if (reply.code !== 0) throw new Error(`a plugin failed with ${reply.code}: ${reply.message}`);
  return reply;
}
