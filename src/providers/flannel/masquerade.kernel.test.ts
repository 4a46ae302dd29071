/** What the rules do to packets, in both kinds of tables: whose address the other side sees. */
import { expect } from "bun:test";
import { cidr } from "../../testing/address.ts";
import { runIn } from "../../testing/iptables.ts";
import { testWith } from "../../testing/needs.ts";
import { type TestNetns, testNetns } from "../../testing/netns.ts";
import { netfilterSocketIn } from "../../testing/nftables.ts";
import { seenFrom } from "../../testing/traffic.ts";
import { type HostFirewall, keepFirewall } from "./firewall.ts";

const kernel = testWith({ root: true, programs: ["ip", "nft", "iptables-nft-restore"] });

interface Site extends AsyncDisposable {
  readonly host: TestNetns;
  /** A container of the host, one of another host, and somebody outside of the network. */
  readonly here: TestNetns;
  readonly there: TestNetns;
  readonly outside: TestNetns;
}

/** Three neighbours of a host that forwards, each behind a link of its own. */
async function site(): Promise<Site> {
  await using stack = new AsyncDisposableStack();
  // Without the wait for duplicates of link-local addresses, by which neighbours are asked for.
  const nodad = "net.ipv6.conf.default.accept_dad=0";
  const host = stack.use(await testNetns());
  await host.exec(["sysctl", "-qw", nodad, "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
  const neighbour = async (nth: number, v4: string, v6: string): Promise<TestNetns> => {
    const netns = stack.use(await testNetns());
    await netns.exec(["sysctl", "-qw", nodad]);
    const [gateway4, gateway6] = [v4.replace(/\.\d+$/, ".1"), v6.replace(/::\w+$/, "::1")];
    await host.exec([
      "ip",
      "link",
      "add",
      `up${nth}`,
      "type",
      "veth",
      "peer",
      "name",
      "eth0",
      "netns",
      netns.name,
    ]);
    const outer = [
      `address add ${gateway4}/24 dev up${nth}`,
      `address add ${gateway6}/64 dev up${nth} nodad`,
      `link set up${nth} up`,
    ];
    await host.exec(["ip", "-batch", "-"], { stdin: `${outer.join("\n")}\n` });
    const inner = [
      `address add ${v4}/24 dev eth0`,
      `address add ${v6}/64 dev eth0 nodad`,
      "link set eth0 up",
      `route add default via ${gateway4}`,
      `route add default via ${gateway6}`,
    ];
    await netns.exec(["ip", "-batch", "-"], { stdin: `${inner.join("\n")}\n` });
    return netns;
  };
  const here = await neighbour(1, "10.244.3.2", "fd00:10:0:3::2");
  const there = await neighbour(2, "10.244.9.9", "fd00:10:0:9::9");
  const outside = await neighbour(3, "192.0.2.2", "2001:db8::2");
  const owned = stack.move();
  return { host, here, there, outside, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

kernel.each(["iptables", "nftables"] as const)(
  "in %s what leaves the network has the host's address, and nothing else has",
  async (kind) => {
    await using on = await site();
    const host: HostFirewall = {
      run: runIn(on.host.name, "nft"),
      openRules: () => netfilterSocketIn(on.host),
      findForwardKeeper: async () => "nobody",
      legacyLoaded: () => false,
      listLegacyChains: () => [],
      trust: async () => [],
    };
    const wish = {
      v4: { network: cidr("10.244.0.0/16"), subnet: cidr("10.244.3.0/24") },
      v6: { network: cidr("fd00:10::/48"), subnet: cidr("fd00:10:0:3::/64") },
      masquerade: { fullyRandom: true },
      acceptForwarded: true,
    };
    await keepFirewall(wish, kind, { host }).ensure();
    let port = 8000;
    const seen = (from: TestNetns, to: TestNetns, address: string): Promise<string | undefined> =>
      seenFrom(from.path, to.path, address, ++port);
    const { here, there, outside } = on;
    expect({
      "a container by the outside": await seen(here, outside, "192.0.2.2"),
      "a container by the outside, IPv6": await seen(here, outside, "2001:db8::2"),
      "a container by another host's": await seen(here, there, "10.244.9.9"),
      "a container by another host's, IPv6": await seen(here, there, "fd00:10:0:9::9"),
      "another host's by a container": await seen(there, here, "10.244.3.2"),
      "the outside by a container": await seen(outside, here, "10.244.3.2"),
      "the outside by a container, IPv6": await seen(outside, here, "fd00:10:0:3::2"),
      "the outside by another host's container": await seen(outside, there, "10.244.9.9"),
    }).toEqual({
      "a container by the outside": "192.0.2.1",
      "a container by the outside, IPv6": "2001:db8::1",
      "a container by another host's": "10.244.3.2",
      "a container by another host's, IPv6": "fd00:10:0:3::2",
      "another host's by a container": "10.244.9.9",
      "the outside by a container": "192.0.2.2",
      "the outside by a container, IPv6": "2001:db8::2",
      "the outside by another host's container": "10.244.9.1",
    });
  },
);
