import { expect, test } from "bun:test";
import { openNetlink } from "../../netlink/socket.ts";
import { inNetns, openNetns } from "../../sys/netns.ts";
import { ip } from "../../testing/address.ts";
import { describeWith } from "../../testing/needs.ts";
import { type TestNetns, testNetns } from "../../testing/netns.ts";
import { readHostNetwork, reachesDirectly } from "./external-facts.ts";
import { chooseExternal } from "./external-interface.ts";
import { parseFlanneld } from "./options.ts";

const kernel = describeWith({ root: true, programs: ["ip"] });

/** A host with two interfaces and default routes of both families over the first. */
async function hostWithLinks(): Promise<TestNetns> {
  const netns = await testNetns();
  const lines = [
    "link add up0 mtu 1400 type veth peer name peer0",
    "link add up1 type veth peer name peer1",
    ...["up0", "peer0", "up1", "peer1"].map((name) => `link set ${name} up`),
    "address add 192.0.2.10/24 dev up0",
    "address add 192.0.2.11/24 dev up0",
    "address add 2001:db8::10/64 dev up0 nodad",
    "address add 10.0.0.10/24 dev up1",
    "address add fd00::10/64 dev up1 nodad",
    "route add default via 192.0.2.1",
    "route add default via 2001:db8::1",
    "route add 198.51.100.0/24 via 10.0.0.1",
  ];
  await netns.exec(["ip", "-batch", "-"], { stdin: `${lines.join("\n")}\n` });
  return netns;
}

kernel("the external interface of a host", () => {
  const chosen = (netns: TestNetns, args: readonly string[], v6 = true): string => {
    using handle = openNetns(netns.path);
    using socket = inNetns(handle, () => openNetlink("route"));
    const call = parseFlanneld(args, {});
    if (call.kind !== "run") throw new Error(call.kind);
    const { external } = call.options;
    const { link, local } = chooseExternal(readHostNetwork(socket, external), external, { v4: true, v6 });
    return `${link.name} ${link.mtuBytes} ${local.v4?.text} ${local.v6?.text}`;
  };

  test("is found by routes, names, addresses, and by what it reaches", async () => {
    await using netns = await hostWithLinks();
    expect(chosen(netns, [])).toBe("up0 1400 192.0.2.10 2001:db8::10");
    expect(chosen(netns, ["--iface=up1"])).toBe("up1 1500 10.0.0.10 fd00::10");
    expect(chosen(netns, ["--iface=192.0.2.11"])).toBe("up0 1400 192.0.2.11 2001:db8::10");
    expect(chosen(netns, ["--iface-regex=^10\\."])).toBe("up1 1500 10.0.0.10 fd00::10");
    expect(chosen(netns, ["--iface-can-reach=198.51.100.7"], false)).toBe("up1 1500 10.0.0.10 undefined");
    await netns.exec(["ip", "route", "del", "default"]);
    expect(() => chosen(netns, [])).toThrow("there is no default route of IPv4");
  });

  test("is read with default routes of the main table alone, since a router has many others", async () => {
    await using netns = await hostWithLinks();
    await netns.exec(["ip", "route", "add", "default", "via", "10.0.0.1", "table", "7"]);
    await netns.exec(["ip", "route", "add", "unreachable", "default", "metric", "900"]);
    using handle = openNetns(netns.path);
    using socket = inNetns(handle, () => openNetlink("route"));
    const { routes } = readHostNetwork(socket, { names: [], patterns: [], publics: {} });
    expect(routes.map(({ gateway }) => gateway?.text)).toEqual(["192.0.2.1", "2001:db8::1"]);
  });

  test("reaches neighbours directly, and others by a gateway or not at all", async () => {
    await using netns = await hostWithLinks();
    using handle = openNetns(netns.path);
    using socket = inNetns(handle, () => openNetlink("route"));
    const { links } = readHostNetwork(socket, { names: [], patterns: [], publics: {} });
    const index = links.find(({ name }) => name === "up1")?.index ?? 0;
    const direct = ["10.0.0.77", "fd00::77", "198.51.100.7", "192.0.2.77", "203.0.113.1"].map((text) =>
      reachesDirectly(socket, { index }, ip(text)),
    );
    expect(direct).toEqual([true, true, false, false, false]);
  });
});
