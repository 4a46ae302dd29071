import { expect, test } from "bun:test";
import { describeWith } from "../testing/needs.ts";
import {
  listRuleset,
  macCheck,
  mapping,
  markOf,
  masquerade,
  nftablesIn,
  nobodyLives,
  stateOf,
} from "../testing/nftables.ts";
import { ask, type SmallNet, smallNet } from "../testing/small-net.ts";
import { tempDir } from "../testing/temp-dir.ts";
import type { FirewallRule } from "./model.ts";

/** What the nftables backend does to packets, between namespaces of the test. */
const kernel = describeWith({ root: true, programs: ["ip", "nft", "sysctl"] });
const SUBNET = "10.99.0.0/24";

async function applied(net: SmallNet, ...rules: readonly FirewallRule[]): Promise<void> {
  using folder = tempDir("traffic");
  using firewall = nftablesIn(net.host, folder.path);
  firewall.apply(stateOf(...rules), markOf(1), nobodyLives);
}

kernel("masquerading", () => {
  test("gives a container the host's address outside and its own inside the subnet", async () => {
    await using net = await smallNet();
    await net.serve(net.outside, "outside", "::", 80);
    await net.serve(net.host, "host", "::", 80);
    expect(await ask(net.one, "192.0.2.2", 80)).toBe("timeout");
    await applied(net, masquerade("10.99.0.2/24"), masquerade("fd00:99::2/64"));
    expect(await ask(net.one, "192.0.2.2", 80)).toBe("outside saw 192.0.2.1");
    expect(await ask(net.one, "2001:db8::2", 80)).toBe("outside saw 2001:db8::1");
    expect(await ask(net.one, "10.99.0.1", 80)).toBe("host saw 10.99.0.2");
    expect(await ask(net.one, "fd00:99::1", 80)).toBe("host saw fd00:99::2");
    // The neighbour has no element.
    expect(await ask(net.two, "192.0.2.2", 80)).toBe("timeout");
  });
});

kernel("a host port", () => {
  test("leads from outside, from the host and from both containers to the container", async () => {
    await using net = await smallNet();
    await net.serve(net.one, "one", "::", 80);
    expect(await ask(net.outside, "192.0.2.1", 9090)).toBe("ECONNREFUSED");
    await applied(
      net,
      mapping("9090/tcp", "10.99.0.2:80", SUBNET),
      mapping("9090/tcp", "[fd00:99::2]:80", "fd00:99::/64"),
    );
    expect(await ask(net.outside, "192.0.2.1", 9090)).toBe("one saw 192.0.2.2");
    expect(await ask(net.outside, "2001:db8::1", 9090)).toBe("one saw 2001:db8::2");
    expect(await ask(net.host, "127.0.0.1", 9090)).toBe("one saw 10.99.0.1");
    expect(await ask(net.host, "192.0.2.1", 9090)).toBe("one saw 192.0.2.1");
    expect(await ask(net.two, "192.0.2.1", 9090)).toBe("one saw 10.99.0.1");
    expect(await ask(net.one, "192.0.2.1", 9090)).toBe("one saw 10.99.0.1");
    expect(await ask(net.two, "2001:db8::1", 9090)).toBe("one saw fd00:99::1");
  });

  test("of one address answers there alone, and comes before the same port of every address", async () => {
    await using net = await smallNet();
    await net.serve(net.one, "one", "0.0.0.0", 80);
    await net.serve(net.two, "two", "0.0.0.0", 80);
    await applied(net, mapping("127.0.0.1:9090/tcp", "10.99.0.2:80", SUBNET));
    expect(await ask(net.host, "127.0.0.1", 9090)).toBe("one saw 10.99.0.1");
    expect(await ask(net.outside, "192.0.2.1", 9090)).toBe("ECONNREFUSED");
    await applied(
      net,
      mapping("192.0.2.1:9090/tcp", "10.99.0.2:80", SUBNET),
      mapping("9090/tcp", "10.99.0.3:80", SUBNET),
    );
    expect(await ask(net.outside, "192.0.2.1", 9090)).toBe("one saw 192.0.2.2");
    expect(await ask(net.host, "10.99.0.1", 9090)).toBe("two saw 10.99.0.1");
  });

  test("hides the sender always, or never, if the configuration says so", async () => {
    await using net = await smallNet();
    await net.serve(net.one, "one", "0.0.0.0", 80);
    await net.serve(net.two, "two", "0.0.0.0", 80);
    await applied(
      net,
      mapping("9090/tcp", "10.99.0.2:80", SUBNET, "all"),
      mapping("9091/tcp", "10.99.0.3:80", SUBNET, "none"),
    );
    expect(await ask(net.outside, "192.0.2.1", 9090)).toBe("one saw 10.99.0.1");
    expect(await ask(net.outside, "192.0.2.1", 9091)).toBe("two saw 192.0.2.2");
    // Without masquerading the answer goes to the neighbour directly, from an address that it never asked.
    expect(await ask(net.one, "192.0.2.1", 9091)).toBe("timeout");
  });

  test("is closed again after DEL", async () => {
    await using net = await smallNet();
    await net.serve(net.one, "one", "0.0.0.0", 80);
    await applied(net, mapping("9090/tcp", "10.99.0.2:80", SUBNET));
    expect(await ask(net.outside, "192.0.2.1", 9090)).toBe("one saw 192.0.2.2");
    using folder = tempDir("traffic");
    using firewall = nftablesIn(net.host, folder.path);
    firewall.remove(markOf(1));
    expect(await ask(net.outside, "192.0.2.1", 9090)).toBe("ECONNREFUSED");
  });
});

kernel("the guard", () => {
  /** Makes the container send to the host's 127.0.0.1 over the bridge, as its root can. */
  const aimAtLoopback = async (net: SmallNet): Promise<void> => {
    await net.one.exec(["sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1"]);
    await net.one.exec(["ip", "-batch", "-"], {
      stdin: "addr flush dev lo\nroute add 127.0.0.1/32 via 10.99.0.1 src 10.99.0.2\n",
    });
  };

  test("keeps containers from the services on the host's loopback", async () => {
    await using net = await smallNet();
    await aimAtLoopback(net);
    await net.serve(net.host, "secret", "127.0.0.1", 7777);
    await net.serve(net.one, "one", "0.0.0.0", 80);
    expect(await ask(net.one, "127.0.0.1", 7777)).toBe("secret saw 10.99.0.2");
    await applied(net, mapping("127.0.0.1:9090/tcp", "10.99.0.2:80", SUBNET));
    expect(await ask(net.one, "127.0.0.1", 7777)).toBe("timeout");
    // The mapping itself, and the host's own use of its loopback, go on.
    expect(await ask(net.host, "127.0.0.1", 9090)).toBe("one saw 10.99.0.1");
    expect(await ask(net.host, "127.0.0.1", 7777)).toBe("secret saw 127.0.0.1");
    const guard = await listRuleset(net.host, "chain", "inet", "heddle", "guard");
    expect(guard).toMatch(/counter packets [1-9]\d* bytes/);
  });

  test("keeps containers from ports that are mapped on 127.0.0.1", async () => {
    await using net = await smallNet();
    await aimAtLoopback(net);
    await net.serve(net.two, "two", "0.0.0.0", 80);
    await applied(net, mapping("127.0.0.1:9090/tcp", "10.99.0.3:80", SUBNET));
    expect(await ask(net.one, "127.0.0.1", 9090)).toBe("timeout");
  });
});

kernel("the MAC check", () => {
  test("drops frames with another source address from that port alone", async () => {
    await using net = await smallNet();
    await net.serve(net.host, "host", "0.0.0.0", 80);
    await net.one.exec(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:01"]);
    await applied(net, macCheck("v1", "02:00:00:00:00:01"));
    expect(await ask(net.one, "10.99.0.1", 80)).toBe("host saw 10.99.0.2");
    for (const netns of [net.one, net.two])
      await netns.exec(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:99"]);
    expect(await ask(net.one, "10.99.0.1", 80)).toBe("timeout");
    await net.one.exec(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:01"]);
    expect(await ask(net.one, "10.99.0.1", 80)).toBe("host saw 10.99.0.2");
    expect(await ask(net.two, "10.99.0.1", 80)).toBe("host saw 10.99.0.3");
  });
});
