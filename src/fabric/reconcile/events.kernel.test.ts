import { expect } from "bun:test";
import { inNetns } from "../../sys/netns.ts";
import { macOf, numbered, numberedNetwork } from "../../testing/fabric.ts";
import { type FabricHost, fabricLan } from "../../testing/fabric-lan.ts";
import { kernelTest as test } from "../../testing/needs.ts";
import type { HostState } from "../host-state.ts";
import { vxlanTransport } from "../transport/vxlan.ts";
import { openEvents, watchKernel } from "./events.ts";
import type { Report } from "./report.ts";

const options = { vni: 1, port: 8472, gbp: false, learning: false, directRouting: false };
const transport = vxlanTransport(options, () => macOf(99));
const desiredOn = (host: FabricHost, peers: number): HostState =>
  transport.desired(
    {
      network: numberedNetwork,
      self: numbered(1),
      peers: Array.from({ length: peers }, (_, i) => numbered(i + 2)),
    },
    host.facts,
  ).state;

/** A reconciler that runs whenever the kernel wakes it, and what it did. */
async function awake(host: FabricHost, desired: HostState) {
  const reports: Report[] = [];
  let heard = Promise.withResolvers<void>();
  const wake = (): void => {
    reports.push(host.reconciler.reconcile(desired));
    heard.resolve();
    heard = Promise.withResolvers();
  };
  const watch = await watchKernel(host.reconciler, { wake, failed: (e) => heard.reject(e) }, () =>
    inNetns(host.handle, openEvents),
  );
  /** Waits until what is told in all of the reports satisfies. */
  const until = async (done: (told: readonly string[]) => boolean): Promise<readonly string[]> => {
    for (;;) {
      const told = reports.flatMap(({ changes }) => changes.map((c) => `${c.action} ${c.object} ${c.key}`));
      if (done(told)) return told;
      await heard.promise;
    }
  };
  const forget = (): void => void reports.splice(0);
  return { reports, until, forget, [Symbol.asyncDispose]: () => watch[Symbol.asyncDispose]() };
}

test("what others remove comes back, and nothing else is touched", async () => {
  await using lan = await fabricLan(1);
  const [host] = lan.hosts as [FabricHost];
  await using on = await awake(host, desiredOn(host, 3));
  await on.until((told) => told.includes("added route 10.128.4.0/24"));
  // Events come in order: when this one is heard, those of the beginning were.
  await host.ip("route add 10.99.0.0/16 dev flannel.1");
  await on.until((all) => all.includes("removed route 10.99.0.0/16"));
  for (const [command, what] of [
    [["ip", "route", "del", "10.128.2.0/24"], "route 10.128.2.0/24"],
    [["ip", "neigh", "del", "10.128.3.0", "dev", "flannel.1"], "neighbour 10.128.3.0 flannel.1"],
    [
      ["bridge", "fdb", "del", macOf(4), "dev", "flannel.1", "dst", "192.168.0.4"],
      `forwarding ${macOf(4)} flannel.1`,
    ],
    [["ip", "route", "replace", "10.128.2.0/24", "via", "192.0.2.9"], "route 10.128.2.0/24"],
    // With its last address a link loses its routes and neighbours.
    [["ip", "address", "del", "10.128.1.0/32", "dev", "flannel.1"], "address 10.128.1.0/32 flannel.1"],
  ] as const) {
    on.forget();
    await host.net.exec(command);
    const told = await on.until((all) => all.includes(`repaired ${what}`));
    if (!what.startsWith("address")) expect(told).toEqual([`repaired ${what}`]);
    expect(on.reports.some(({ full }) => full)).toBe(what.startsWith("address"));
  }
  await on.until((told) =>
    ["10.128.2.0/24", "10.128.3.0/24"].every((to) => told.includes(`repaired route ${to}`)),
  );
});

test("a link that others delete comes back with everything on it", async () => {
  await using lan = await fabricLan(1);
  const [host] = lan.hosts as [FabricHost];
  await using on = await awake(host, desiredOn(host, 20));
  await on.until((told) => told.includes("added route 10.128.21.0/24"));
  for (const lines of [["link del flannel.1"], ["link set flannel.1 down"]]) {
    on.forget();
    await host.ip(...lines);
    await on.until((told) => told.includes("repaired route 10.128.21.0/24"));
    expect(await host.json("ip", "-j", "route", "show", "dev", "flannel.1")).toHaveLength(20);
    const neighbours = await host.json("ip", "-j", "neigh", "show", "dev", "flannel.1", "nud", "permanent");
    expect(neighbours).toHaveLength(20);
    expect(
      await host.json("ip", "-j", "address", "show", "dev", "flannel.1", "to", "10.128.1.0"),
    ).toHaveLength(1);
  }
});

test("a thousand routes that are flushed at once come back", async () => {
  await using lan = await fabricLan(1);
  const [host] = lan.hosts as [FabricHost];
  const desired = desiredOn(host, 1000);
  await using on = await awake(host, desired);
  await on.until((told) => told.includes("added route 10.131.233.0/24"));
  on.forget();
  // It looks again until there are none left, so that nothing may come back meanwhile.
  Bun.spawnSync(["ip", "-n", host.net.name, "route", "flush", "proto", "73"]);
  const count = (told: readonly string[]): number =>
    told.filter((t) => t.startsWith("repaired route")).length;
  expect(count(await on.until((told) => count(told) >= 1000))).toBe(1000);
  expect(await host.json("ip", "-j", "route", "show", "proto", "73")).toHaveLength(1000);
});

test("somebody who takes a route away again and again is told, and the kernel is not kept busy", async () => {
  let time = 0;
  await using lan = await fabricLan(1, () => time);
  const [host] = lan.hosts as [FabricHost];
  const desired = desiredOn(host, 2);
  host.reconciler.reconcile(desired);
  const reports: Report[] = [];
  for (let i = 0; i < 7; i++) {
    time += 100;
    await host.ip("route flush 10.128.2.0/24");
    host.reconciler.relist();
    reports.push(host.reconciler.reconcile(desired));
  }
  expect(reports.map(({ changes }) => changes.length)).toEqual([1, 1, 1, 1, 1, 1, 0]);
  expect(reports.map(({ fights }) => fights.length)).toEqual([0, 0, 0, 0, 0, 1, 1]);
  expect(reports.at(-1)).toMatchObject({
    fights: [{ object: "route", key: "10.128.2.0/24", repairs: 6 }],
    waiting: 1,
    retryInMs: 900,
  });
  time += 900;
  expect(host.reconciler.reconcile(desired).changes.map((c) => c.action)).toEqual(["repaired"]);
});
