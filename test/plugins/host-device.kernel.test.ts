/** `host-device` by the built executable: the device goes, works, and comes back as it was, whatever happened between. */
import { describe, expect } from "bun:test";
import { join } from "node:path";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith, whyNot } from "../../src/testing/needs.ts";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import { peerProgram } from "../../src/testing/peer.ts";
import { plainEnv } from "../../src/testing/run.ts";
import { seenFrom } from "../../src/testing/traffic.ts";
import { addressIn, type Json, type ListSite, listSite } from "./list-site.ts";

const needs = { root: true, programs: ["ip", "nft", "nsenter", "unshare"] };
const kernel = testWith(needs);
const peer = whyNot(needs) === undefined ? await peerProgram("host-device") : undefined;
const peerTest = testWith({ ...needs, feature: peer === undefined ? "needs the reference plugins" : true });
const by = peer?.slice(0, peer.lastIndexOf("/")) ?? "";

const heddle = heddleOfFile();

const MAC = "02:00:00:00:0d:01";

/** A site with a device `dev0`, whose other end `wire0` the host keeps. */
async function withDevice(up = true): Promise<ListSite> {
  const on = await listSite(heddle);
  const lines = [
    `link add dev0 address ${MAC} mtu 1400 type veth peer name wire0`,
    "address add 10.85.0.1/24 dev wire0",
    "link set wire0 up",
    ...(up ? ["link set dev0 up"] : []),
  ];
  await on.host.exec(["ip", "-batch", "-"], { stdin: `${lines.join("\n")}\n` });
  return on;
}

const ipam = ({ host }: ListSite): Json => ({
  type: "host-local",
  dataDir: join(host.dir, "ipam"),
  ranges: [[{ subnet: "10.85.0.0/24", rangeStart: "10.85.0.2" }], [{ subnet: "fd85::/64" }]],
});
const device = (on: ListSite, more: Json = { device: "dev0" }): Json => ({
  type: "host-device",
  ipam: ipam(on),
  ...more,
});
const bare = (more: Json = { device: "dev0" }): Json => ({ type: "host-device", ...more });

const linkIn = async (on: ListSite, net: string, name: string): Promise<Json | undefined> => {
  const all = await on.ip(net, "-details", "link", "show");
  return all.find((l) => l["ifname"] === name);
};
/** Everything about the host, with what `ip` says of the device beside the snapshot. */
async function hostOf(on: ListSite): Promise<readonly unknown[]> {
  const { ifalias, altnames, mtu, address, txqlen } = (await linkIn(on, on.home, "dev0")) ?? {};
  return [...(await on.host.snapshot()), { ifalias, altnames, mtu, address, txqlen }];
}

describe("ADD and DEL", () => {
  kernel.each([["has a record"], ["has lost its record"]])(
    "give a device its own name back that came from a dead container which %s, and was lent again",
    async (how) => {
      await using on = await withDevice();
      const [a, b] = [await on.container(), await on.container()];
      await on.host.exec(["ip", "link", "set", "dev0", "txqueuelen", "77"]);
      const before = await hostOf(on);
      const named = bare({ hwaddr: MAC });
      await on.add(a, [named], { ifname: "net1" });
      // As the kernel does with a physical device when the namespace ends.
      await a.exec(["ip", "link", "set", "net1", "txqueuelen", "5", "netns", String(on.host.pid)]);
      const returned = await linkIn(on, on.home, "net1");
      expect(returned?.["altnames"]).toEqual([expect.stringContaining("moved-heddle-") as string]);
      if (how.endsWith("lost its record"))
        await on.host.exec(["rm", "-rf", join(on.host.dir, "run/attachments")]);
      const result = await on.add(b, [named], { ifname: "net1" });
      expect(await linkIn(on, b.path, "net1")).toMatchObject({ ifalias: "dev0", address: MAC });
      // The dead container's DEL comes late, and takes nothing from the one that lives.
      await on.del(a, [named], {}, { ifname: "net1", bare: true });
      expect(await linkIn(on, b.path, "net1")).toMatchObject({ ifalias: "dev0", address: MAC });
      await on.del(b, [named], result, { ifname: "net1" });
      if (how.endsWith("lost its record"))
        await on.host.exec(["ip", "link", "set", "dev0", "up", "txqueuelen", "77"]);
      expect(await hostOf(on)).toEqual(before);
    },
  );

  kernel("lend the device to the container and give it back", async () => {
    await using on = await withDevice();
    const a = await on.container();
    const before = await hostOf(on);
    const result = await on.add(a, [device(on)]);
    expect(result["interfaces"]).toEqual([{ name: "eth0", mac: MAC, mtu: 1400, sandbox: a.path }]);
    expect((result["ips"] as readonly Json[]).map((ip) => ip["interface"])).toEqual([0, 0]);
    expect(await linkIn(on, on.home, "dev0")).toBeUndefined();
    expect(await linkIn(on, a.path, "eth0")).toMatchObject({ ifalias: "dev0", address: MAC, mtu: 1400 });
    expect(await seenFrom(a.path, on.home, "10.85.0.1", 80)).toBe(addressIn(result));
    await on.check(a, [device(on)], result);
    await on.del(a, [device(on)], result);
    expect(await hostOf(on)).toEqual(before);
    await on.del(a, [device(on)], result);
  });

  kernel("work without addresses, on a device that was down", async () => {
    await using on = await withDevice(false);
    const a = await on.container();
    const before = await hostOf(on);
    const result = await on.add(a, [bare()]);
    expect((await linkIn(on, a.path, "eth0"))?.["flags"]).toContain("UP");
    await on.check(a, [bare()], result);
    await on.del(a, [bare()], result);
    expect(await hostOf(on)).toEqual(before);
  });

  kernel("take back what was changed on the device meanwhile", async () => {
    await using on = await withDevice();
    const a = await on.container();
    await on.host.exec(["ip", "link", "set", "dev0", "alias", "rack 7", "txqueuelen", "77"]);
    const before = await hostOf(on);
    const result = await on.add(a, [bare()]);
    const set = "link set eth0 mtu 1300 address 02:00:00:00:0d:99 txqueuelen 5 promisc on alias x";
    await a.exec(["ip", ...set.split(" ")]);
    await a.exec(["ip", "link", "set", "eth0", "down"]);
    await a.exec(["ip", "link", "set", "eth0", "name", "other"]);
    await on.del(a, [bare()], result);
    expect(await hostOf(on)).toEqual(before);
  });

  kernel("leave a link of the container alone that has the name of the device on the host", async () => {
    await using on = await withDevice();
    const a = await on.container();
    await a.exec(["ip", "link", "add", "dev0", "up", "type", "veth", "peer", "name", "dev1"]);
    const before = [await hostOf(on), await on.host.snapshot([a.path])];
    const result = await on.add(a, [bare()]);
    expect(await linkIn(on, a.path, "eth0")).toMatchObject({ address: MAC });
    expect((await linkIn(on, a.path, "eth0"))?.["flags"]).toContain("UP");
    await on.check(a, [bare()], result);
    await on.del(a, [bare()], result);
    expect([await hostOf(on), await on.host.snapshot([a.path])]).toEqual(before);
  });

  kernel("find the device by its address, by its path and by its name before these", async () => {
    await using on = await withDevice();
    const a = await on.container();
    // What /sys shows belongs to the namespace that it was mounted in.
    await on.host.exec(["mount", "-t", "sysfs", "sysfs", "/sys"]);
    const before = await hostOf(on);
    for (const named of [
      { hwaddr: MAC.toUpperCase() },
      { kernelpath: "/sys/devices/virtual" },
      { device: "dev0", hwaddr: "02:00:00:00:00:00", kernelpath: "/sys/devices/none" },
      { runtimeConfig: { deviceID: "" }, pciBusID: "", device: "dev0" },
    ]) {
      const result = await on.add(a, [bare(named)]);
      expect((result["interfaces"] as readonly Json[])[0]?.["mac"]).toBe(MAC);
      await on.del(a, [bare(named)], result);
      expect(await hostOf(on)).toEqual(before);
    }
  });

  kernel("give the device to one of several containers that ask at once", async () => {
    await using on = await withDevice();
    const before = await hostOf(on);
    const all = await Promise.all(Array.from({ length: 5 }, () => on.container()));
    const replies = await Promise.all(all.map((at) => on.call("ADD", at, device(on))));
    expect(replies.filter((r) => r.code === 0)).toHaveLength(1);
    expect(replies.filter((r) => r.error === 7)).toHaveLength(4);
    await Promise.all(all.map((at) => on.call("DEL", at, device(on))));
    expect(await hostOf(on)).toEqual(before);
  });
});

describe("DEL", () => {
  const gone = async (on: ListSite): Promise<TestNetns> => {
    const a = await testNetns();
    await on.add(a, [device(on)]);
    await a[Symbol.asyncDispose]();
    return a;
  };

  kernel("of the key alone gives the device and the address back", async () => {
    await using on = await withDevice();
    const a = await on.container();
    const before = await hostOf(on);
    const result = await on.add(a, [device(on)]);
    await on.del(a, [device(on)], result, { bare: true });
    expect(await hostOf(on)).toEqual(before);
  });

  kernel("without the record finds the device by its mark", async () => {
    await using on = await withDevice();
    const a = await on.container();
    const before = await hostOf(on);
    const result = await on.add(a, [device(on)]);
    await on.host.exec(["rm", "-r", join(on.host.dir, "run")]);
    await a.exec(["ip", "link", "set", "eth0", "down"]);
    await a.exec(["ip", "link", "set", "eth0", "name", "other"]);
    await on.del(a, [device(on)], result);
    await on.host.exec(["ip", "link", "set", "dev0", "up"]);
    expect(await hostOf(on)).toEqual(before);
  });

  kernel("leaves the device where it is while its name is taken, and returns it after that", async () => {
    await using on = await withDevice();
    const a = await on.container();
    const before = await hostOf(on);
    const result = await on.add(a, [device(on)]);
    await on.host.exec(["ip", "link", "add", "dev0", "type", "veth", "peer", "name", "dev1"]);
    const refused = await on.call("DEL", a, { ...device(on), prevResult: result });
    expect([refused.error, refused.message]).toEqual([104, expect.stringContaining("interface dev0")]);
    expect(await linkIn(on, a.path, "eth0")).toMatchObject({ address: MAC });
    await on.host.exec(["ip", "link", "delete", "dev0"]);
    await on.del(a, [device(on)], result);
    expect(await hostOf(on)).toEqual(before);
  });

  kernel("of a virtual device that ended with its namespace succeeds and says so", async () => {
    await using on = await withDevice();
    const a = await gone(on);
    const env = {
      ...plainEnv,
      HEDDLE_RUN_DIR: join(on.host.dir, "run"),
      CNI_COMMAND: "DEL",
      CNI_CONTAINERID: a.name,
      CNI_NETNS: a.path,
      CNI_IFNAME: "eth0",
      CNI_PATH: heddle.cniPath,
    };
    const stdin = JSON.stringify({ cniVersion: "1.1.0", name: "lists", ...device(on) });
    const { stderr } = await on.host.exec([heddle.at("host-device")], { env, stdin });
    expect(stderr).toContain("device dev0 was not given back");
    expect((await on.host.snapshot()).filter((l) => /file (ipam|run)/.test(l))).toEqual([]);
  });
});

describe("STATUS", () => {
  kernel("warns while a container has the device, and is well all the same", async () => {
    await using on = await withDevice();
    const a = await on.container();
    const env = {
      ...plainEnv,
      HEDDLE_RUN_DIR: join(on.host.dir, "run"),
      CNI_COMMAND: "STATUS",
      CNI_PATH: heddle.cniPath,
    };
    const stdin = JSON.stringify({ cniVersion: "1.1.0", name: "lists", ...device(on) });
    const status = async () => (await on.host.exec([heddle.at("host-device")], { env, stdin })).stderr;
    expect(await status()).toBe("");
    await on.add(a, [device(on)]);
    expect(await status()).toContain("the host has no link dev0");
  });
});

describe("GC", () => {
  kernel("gives back the devices of attachments that are not valid, and no others", async () => {
    await using on = await withDevice();
    const a = await on.container();
    const before = await hostOf(on);
    await on.add(a, [device(on)]);
    const valid = [{ containerID: a.name, ifname: "eth0" }];
    const collect = (list: readonly Json[]) =>
      on.call("GC", a, { ...device(on), "cni.dev/valid-attachments": list });
    expect((await collect(valid)).message).toBe("");
    expect(await linkIn(on, a.path, "eth0")).toMatchObject({ address: MAC });
    expect((await collect([])).message).toBe("");
    expect(await hostOf(on)).toEqual(before);
  });
});

describe("refused and unchanged", () => {
  kernel.each([
    ["a device that is not there", 7, "device: the host has no link dev9", { device: "dev9" }],
    ["an address that nobody has", 7, "hwaddr: ", { hwaddr: "02:00:00:00:00:99" }],
    ["a path without a device", 7, "kernelpath: ", { kernelpath: "/sys/devices/none" }],
    ["a PCI device that is not there", 7, "pciBusID: ", { pciBusID: "ffff:ff:1f.7" }],
    [
      "a device ID that nothing has",
      7,
      "runtimeConfig.deviceID: ",
      { runtimeConfig: { deviceID: "x.sf.9" } },
    ],
    ["the loopback", 7, "device: lo", { device: "lo" }],
    ["a bridge, which cannot move", 7, "cannot leave", { device: "stay0" }],
  ] as const)("is %s, by code %i", async (_, code, says, named) => {
    await using on = await withDevice();
    const a = await on.container();
    await on.host.exec(["ip", "link", "add", "stay0", "type", "bridge"]);
    const before = await on.host.snapshot([a.path]);
    const { error, message } = await on.call("ADD", a, device(on, named));
    expect([error, message]).toEqual([code, expect.stringContaining(says)]);
    expect(await on.host.snapshot([a.path])).toEqual(before);
  });

  kernel("is a container that has the interface already, or will not be asked twice", async () => {
    await using on = await withDevice();
    const a = await on.container();
    await a.exec(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth9"]);
    const before = await on.host.snapshot([a.path]);
    expect(await on.call("ADD", a, device(on))).toMatchObject({ error: 104 });
    expect(await on.host.snapshot([a.path])).toEqual(before);
    await a.exec(["ip", "link", "delete", "eth0"]);
    await on.add(a, [device(on)]);
    const held = await on.host.snapshot([a.path]);
    expect(await on.call("ADD", a, device(on))).toMatchObject({ error: 101 });
    expect(await on.host.snapshot([a.path])).toEqual(held);
  });
});

describe("beside the reference", () => {
  peerTest("takes back what it has lent, and lends what it takes back", async () => {
    await using on = await withDevice();
    const a = await on.container();
    const theirs = await on.add(a, [device(on)], { by });
    await on.check(a, [device(on)], theirs);
    await on.del(a, [device(on)], theirs);
    // The reference leaves the device down, and so does whoever does not know how it was.
    const after = await linkIn(on, on.home, "dev0");
    expect(after).toMatchObject({ address: MAC, operstate: "DOWN" });
    expect(after).not.toHaveProperty("ifalias");
    const ours = await on.add(a, [device(on)]);
    await on.del(a, [device(on)], ours, { by });
    expect(await linkIn(on, on.home, "dev0")).toMatchObject({ address: MAC });
    await on.del(a, [device(on)], ours);
    expect((await linkIn(on, on.home, "dev0")) ?? {}).not.toHaveProperty("altnames");
  });
});

describe("CHECK", () => {
  kernel("finds a device that is gone, has another address, or lost its IP address", async () => {
    await using on = await withDevice();
    const a = await on.container();
    const damages = [
      ["ip", "address", "flush", "dev", "eth0"],
      ["ip", "link", "set", "eth0", "address", "02:00:00:00:0d:77"],
      ["ip", "link", "set", "eth0", "name", "other"],
    ];
    for (const damage of damages) {
      const prevResult = await on.add(a, [device(on)]);
      await on.check(a, [device(on)], prevResult);
      await a.exec(["ip", "link", "set", "eth0", "down"]);
      await a.exec(damage);
      await a.exec(["ip", "link", "set", damage.at(-1) ?? "", "up"], { mustSucceed: false });
      await a.exec(["ip", "link", "set", "eth0", "up"], { mustSucceed: false });
      expect((await on.call("CHECK", a, { ...device(on), prevResult })).error).toBe(103);
      await on.del(a, [device(on)], prevResult);
    }
  });
});
