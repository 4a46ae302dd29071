/** What is the host's alone, for runtimes that move the container's interface by themselves. */
import { describe, expect } from "bun:test";
import { kernelTest } from "../../testing/needs.ts";
import { MARK, type Stage, stage } from "../../testing/netstate-stage.ts";
import { fresh, prefixOf } from "../../testing/plan.ts";
import type { Of } from "../model.ts";

const bridge: Of<"bridge"> = {
  kind: "bridge",
  possession: "exclusive",
  name: "own0",
  mac: fresh.bridgeMac,
  promiscuous: false,
};
/** A link that carries the mark already is enough for one owner. */
const shared: Of<"bridge"> = { ...bridge, possession: "shared" };
const pair: Of<"veth"> = {
  kind: "veth",
  possession: "exclusive",
  host: { name: "vethown1", mac: fresh.hostMac },
  container: { name: "hdlwaits", mac: fresh.containerMac, place: "host" },
  port: { bridge: "own0", hairpin: false, isolated: false },
};
const gateway: Of<"address"> = {
  kind: "address",
  possession: "exclusive",
  place: "host",
  link: "theirs",
  foreignLink: true,
  address: prefixOf("10.94.0.1/24"),
  dad: false,
  connectedRoute: true,
};
const links = async ({ host }: Stage): Promise<string> =>
  (await host.exec(["ip", "-br", "link"])).stdout.replaceAll(/@\S+/g, "");

describe("an exclusive bridge", () => {
  kernelTest("carries the mark and goes with its owner", async () => {
    await using on = await stage();
    const before = await on.lines();
    expect((await on.do("apply", [bridge])).failure).toBeUndefined();
    expect((await on.host.exec(["ip", "link", "show", bridge.name])).stdout).toContain(`altname ${MARK}`);
    // Applied again, it is found to be there.
    expect((await on.do("apply", [bridge])).failure).toBeUndefined();
    expect((await on.do("verify", [bridge])).failure).toBeUndefined();
    expect((await on.do("remove", [bridge])).failure).toBeUndefined();
    expect(await on.lines()).toEqual(before);
  });

  kernelTest("is neither taken from somebody else nor removed from them", async () => {
    await using on = await stage();
    await on.host.exec(["ip", "link", "add", bridge.name, "type", "bridge"]);
    expect((await on.do("apply", [bridge])).failure?.message).toContain("has changed since");
    await on.do("remove", [bridge]);
    expect(await links(on)).toContain(bridge.name);
  });

  kernelTest("whose maker was killed before it was marked is told by its address", async () => {
    await using on = await stage();
    await on.host.exec(["ip", "link", "add", bridge.name, "address", bridge.mac, "type", "bridge"]);
    await on.do("remove", [bridge]);
    expect(await links(on)).not.toContain(bridge.name);
  });
});

describe("a pair of the host", () => {
  kernelTest("waits for a runtime to move one end, and goes with its mark wherever that is", async () => {
    await using on = await stage();
    expect((await on.do("apply", [shared, pair])).failure).toBeUndefined();
    expect(await links(on)).toMatch(/hdlwaits +DOWN/);
    await on.host.exec(["ip", "link", "set", "hdlwaits", "netns", on.container.name, "name", "eth0", "up"]);
    expect((await on.do("verify", [shared, pair])).failure).toBeUndefined();
    expect((await on.do("remove", [pair])).failure).toBeUndefined();
    expect((await on.container.exec(["ip", "-br", "link"])).stdout).not.toContain("eth0");
    expect(await links(on)).not.toContain("vethown1");
  });

  kernelTest("does not take a name that a link has", async () => {
    await using on = await stage();
    await on.host.exec(["ip", "link", "add", "hdlwaits", "type", "bridge"]);
    const { failure } = await on.do("apply", [shared, pair]);
    expect(failure?.message).toContain("interface hdlwaits already exists in the host");
    expect(await links(on)).not.toContain("vethown1");
  });
});

describe("an exclusive address on a link of somebody else", () => {
  kernelTest("is removed by itself", async () => {
    await using on = await stage();
    await on.host.exec(["ip", "link", "add", "theirs", "type", "bridge"]);
    await on.host.exec(["ip", "link", "set", "theirs", "up"]);
    expect((await on.do("apply", [gateway])).failure).toBeUndefined();
    const shown = async () => (await on.host.exec(["ip", "-br", "address", "show", "theirs"])).stdout;
    expect(await shown()).toContain("10.94.0.1/24");
    expect((await on.do("remove", [gateway])).failure).toBeUndefined();
    expect(await shown()).not.toContain("10.94.0.1");
  });
});
