/** `heddle trace` over kinds of links that few kernels of test machines have. */
import { expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTestWith } from "../../src/testing/needs.ts";
import { told, traceSite } from "./trace-site.ts";

const heddle = heddleOfFile();
const LISTENING = 80;

const ipam = (dataDir: string, subnet: string, start: string, gateway: string) => ({
  type: "host-local",
  dataDir,
  ranges: [[{ subnet, rangeStart: start, gateway }]],
});

kernelTestWith("ipvlan")(
  "ipvlans reach each other and what is outside, and never the host below",
  async () => {
    await using site = await traceSite(heddle, (dir) => ({
      shared: [{ type: "ipvlan", master: "up0", ipam: ipam(dir, "10.95.0.0/24", "10.95.0.64", "10.95.0.2") }],
    }));
    const [a, b] = [await site.attach("shared"), await site.attach("shared")];
    for (const at of [b.netns.path, site.outside.path, site.home]) await site.serve(at, LISTENING);
    expect((await told(site, { from: a, to: b.address, port: LISTENING })).outcome).toBe("passes");
    expect((await told(site, { from: a, to: "10.95.0.2", port: LISTENING })).outcome).toBe("passes");
    expect((await told(site, { from: a, to: "10.95.0.1", port: LISTENING })).outcome).toBe("dropped");
  },
);

kernelTestWith("vlan")("a VLAN of the host's link reaches who is in the same one", async () => {
  await using site = await traceSite(heddle, (dir) => ({
    five: [
      { type: "vlan", master: "up0", vlanId: 5, ipam: ipam(dir, "10.66.0.0/24", "10.66.0.16", "10.66.0.2") },
    ],
  }));
  await site.outside.exec(["ip", "link", "add", "link", "lan", "name", "lan5", "type", "vlan", "id", "5"]);
  await site.outside.exec(["ip", "address", "add", "10.66.0.2/24", "dev", "lan5"]);
  await site.outside.exec(["ip", "link", "set", "lan5", "up"]);
  const a = await site.attach("five");
  await site.serve(site.outside.path, LISTENING);
  const flow = { from: a, to: "10.66.0.2", port: LISTENING };
  expect((await told(site, flow)).outcome).toBe("passes");
  await site.outside.exec(["ip", "link", "set", "lan5", "down"]);
  expect((await told(site, flow)).outcome).toBe("dropped");
});

kernelTestWith("bridge vlan")("a bridge keeps VLANs apart, and the host is in one of them", async () => {
  const on = (dir: string, vlan: number, start: string) => ({
    type: "bridge",
    bridge: "lanes0",
    vlan,
    isGateway: vlan === 100,
    ipam: ipam(dir, "10.67.0.0/24", start, "10.67.0.1"),
  });
  await using site = await traceSite(heddle, (dir) => ({
    hundred: [on(dir, 100, "10.67.0.16")],
    other: [on(dir, 200, "10.67.0.64")],
  }));
  const [a, b, c] = [await site.attach("hundred"), await site.attach("hundred"), await site.attach("other")];
  for (const at of [b.netns.path, c.netns.path, site.home]) await site.serve(at, LISTENING);
  expect((await told(site, { from: a, to: b.address, port: LISTENING })).outcome).toBe("passes");
  expect((await told(site, { from: a, to: c.address, port: LISTENING })).outcome).toBe("dropped");
  expect((await told(site, { from: a, to: "10.67.0.1", port: LISTENING })).outcome).toBe("passes");
  expect((await told(site, { from: c, to: "10.67.0.1", port: LISTENING })).outcome).toBe("dropped");
});

kernelTestWith("dummy")("a dummy of the host swallows what is routed to it", async () => {
  await using site = await traceSite(heddle);
  const a = await site.attach("one");
  await site.host.exec(["ip", "link", "add", "pit0", "type", "dummy"]);
  await site.host.exec(["ip", "link", "set", "pit0", "up"]);
  await site.host.exec(["ip", "route", "add", "198.51.100.0/24", "dev", "pit0"]);
  const lost = await told(site, { from: a, to: "198.51.100.1", port: LISTENING });
  expect([lost.outcome, lost.by]).toEqual(["dropped", expect.stringContaining("pit0 is a dummy") as never]);
});
