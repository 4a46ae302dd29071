import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { testWith } from "../testing/needs.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { onClock, stamp } from "./clock.ts";
import { hasLease, type Lease, leaseDir, leaseId, openStore, stateDir } from "./store.ts";

const linuxTest = testWith({});
const lease: Lease = {
  key: { network: "lan", containerId: "c1", ifname: "eth0" },
  netns: { path: "/run/netns/x", dev: 4, ino: 4026532597, cookie: "18446744073709551615" },
  link: { index: 2, mac: "02:00:00:00:00:05" },
  client: { id: "00ff", options: [[12, "61"]], request: [1, 3], broadcast: false },
  terms: {
    family: 4,
    address: "10.0.0.5/24",
    server: "10.0.0.1",
    serverMac: "02:00:00:00:00:01",
    routers: ["10.0.0.1"],
    classlessRoutes: [{ dst: "0.0.0.0/0", gw: "10.0.0.1" }, { dst: "10.1.0.0/16" }],
    staticRoutes: [],
    nameservers: ["10.0.0.2"],
    domain: "a.test",
    search: ["a.test"],
    timeServers: [],
    mtu: 1400,
    leaseSeconds: 0xffff_ffff,
    renewSeconds: 0xffff_ffff,
    rebindSeconds: 0xffff_ffff,
  },
  granted: { sinceMs: 5, wallMs: 6, bootId: "b" },
};
const load = (dir: string): { readonly leases: readonly Lease[]; readonly log: readonly string[] } => {
  const log: string[] = [];
  using store = openStore(dir);
  return { leases: store.load((line) => log.push(line)), log };
};

describe("leases on disk", () => {
  linuxTest("come back as they were, and go when they are removed", () => {
    using dir = tempDir("leases");
    {
      using store = openStore(dir.path);
      store.save(lease);
      store.save({ ...lease, over: "why" });
    }
    expect(load(dir.path).leases).toEqual([{ ...lease, over: "why" }]);
    expect(hasLease(dir.path, lease.key)).toBe(true);
    expect(hasLease(dir.path, { ...lease.key, ifname: "eth1" })).toBe(false);
    const file = readdirSync(leaseDir(dir.path)).find((n) => n.endsWith(".json"));
    expect(statSync(`${leaseDir(dir.path)}/${file}`).mode & 0o777).toBe(0o600);
    expect(statSync(leaseDir(dir.path)).mode & 0o777).toBe(0o700);
    {
      using store = openStore(dir.path);
      store.remove(lease.key, 4);
      store.remove(lease.key, 4);
    }
    expect(load(dir.path).leases).toEqual([]);
    expect(hasLease(dir.path, lease.key)).toBe(false);
    expect(hasLease(dir.in("nowhere"), lease.key)).toBe(false);
  });

  linuxTest("are one daemon's", () => {
    using dir = tempDir("leases");
    using _ = openStore(dir.path);
    expect(() => openStore(dir.path)).toThrow("another DHCP daemon already exists");
  });

  linuxTest("that cannot be read are named and left alone; drafts of a dead daemon go", () => {
    using dir = tempDir("leases");
    {
      using store = openStore(dir.path);
      store.save(lease);
    }
    const place = leaseDir(dir.path);
    const good = readFileSync(`${place}/${leaseId(lease.key, 4)}.json`, "utf8");
    writeFileSync(`${place}/cut.json`, good.slice(0, 40));
    writeFileSync(`${place}/newer.json`, good.replace('"v":1', '"v":2'));
    writeFileSync(`${place}/wrong.json`, good.replace("10.0.0.5/24", "10.0.0.5/99"));
    writeFileSync(`${place}/left.json.new`, "{");
    const { leases, log } = load(dir.path);
    expect(leases).toHaveLength(1);
    expect(log).toHaveLength(3);
    expect(readdirSync(place).toSorted()).toContain("cut.json");
    expect(readdirSync(place)).not.toContain("left.json.new");
  });

  linuxTest("are not believed where others than root can write", () => {
    using dir = tempDir("leases");
    mkdirSync(dir.in("open"));
    chmodSync(dir.in("open"), 0o777);
    expect(() => openStore(dir.in("open"))).toThrow("HEDDLE_STATE_DIR");
  });
});

test("where they are is said by a variable, if it is an absolute path", () => {
  expect(stateDir({})).toBe("/var/lib/heddle");
  expect(stateDir({ HEDDLE_STATE_DIR: "state" })).toBe("/var/lib/heddle");
  expect(stateDir({ HEDDLE_STATE_DIR: "/x" })).toBe("/x");
});

describe("a point in time", () => {
  const clock = (now: number, wall: number, bootId: string) => ({ now: () => now, wall: () => wall, bootId });
  const then = stamp(clock(1000, 50_000, "a"), 100);
  test("is the same in the same boot, whatever the wall clock says", () => {
    expect(onClock(clock(9000, 0, "a"), then)).toBe(900);
  });
  test("is as long ago in another boot as the wall clock says, and not in the future", () => {
    expect(onClock(clock(200, 60_000, "b"), then)).toBe(200 - 10_100);
    expect(onClock(clock(200, 10_000, "b"), then)).toBe(200);
  });
});
