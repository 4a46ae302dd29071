/** An address goes back to where it came from, whatever the configuration says by then. */
import { expect } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { cniHost } from "../src/testing/cni-host.ts";
import { heddleOfFile } from "../src/testing/executable.ts";
import { testWith } from "../src/testing/needs.ts";
import { testNetns } from "../src/testing/netns.ts";

const heddle = heddleOfFile();

const hostTest = testWith({ root: true, programs: ["ip", "nsenter", "unshare"] });
const bridge = (ipam: object | undefined): object => ({
  cniVersion: "1.0.0",
  name: "leases",
  type: "bridge",
  bridge: "leases",
  ...(ipam ? { ipam } : {}),
});

const changes: readonly (readonly [what: string, ipam: (dataDir: string) => object | undefined])[] = [
  [
    "another directory",
    (dir) => ({ type: "host-local", subnet: "10.77.0.0/24", dataDir: join(dir, "other") }),
  ],
  ["another subnet", (dir) => ({ type: "host-local", subnet: "10.78.0.0/24", dataDir: join(dir, "ipam") })],
  ["another IPAM plugin", () => ({ type: "static", addresses: [{ address: "10.77.0.9/24" }] })],
  ["no IPAM plugin", () => undefined],
  ["a broken one", () => ({ type: "host-local", subnet: "nonsense" })],
];
for (const [what, changed] of changes)
  hostTest(`DEL with ${what} in the configuration frees the address that ADD reserved`, async () => {
    await using host = await cniHost(heddle);
    await using container = await testNetns();
    const call = { containerId: "c1", netns: container.path, ifname: "eth0" };
    const ipam = { type: "host-local", subnet: "10.77.0.0/24", dataDir: join(host.dir, "ipam") };
    const reservation = join(ipam.dataDir, "leases", "10.77.0.2");
    expect((await host.call("bridge", { ...call, command: "ADD" }, bridge(ipam))).message).toBe("");
    expect(existsSync(reservation)).toBe(true);
    const deleted = await host.call("bridge", { ...call, command: "DEL" }, bridge(changed(host.dir)));
    expect(deleted.message).toBe("");
    expect(existsSync(reservation)).toBe(false);
  });
