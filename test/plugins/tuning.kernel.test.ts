/** `tuning` by the built executable: what it changes, gives back, checks, and takes over from the reference. */
import { describe, expect } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith, whyNot } from "../../src/testing/needs.ts";
import type { TestNetns } from "../../src/testing/netns.ts";
import { peerProgram } from "../../src/testing/peer.ts";
import { addressIn, bridgeOn, type Json, type ListSite, listSite } from "./list-site.ts";
import { seenFrom } from "../../src/testing/traffic.ts";

const needs = { root: true, programs: ["ip", "nft", "nsenter", "unshare"] };
const kernel = testWith(needs);
const peer = whyNot(needs) === undefined ? await peerProgram("tuning") : undefined;
const peerTest = testWith({ ...needs, feature: peer === undefined ? "needs the reference plugins" : true });
const by = peer?.slice(0, peer.lastIndexOf("/")) ?? "";

const heddle = heddleOfFile();

const MAC = "02:00:00:00:00:55";
const all = {
  type: "tuning",
  mac: MAC,
  mtu: 1400,
  promisc: true,
  allmulti: true,
  txQLen: 77,
  sysctl: {
    "net.ipv4.conf.IFNAME.arp_filter": "1",
    "net/core/somaxconn": "0x123",
    "net.ipv4.ip_local_port_range": "2000 3000",
  },
};
const bridge = (on: ListSite): Json => bridgeOn(on, ["10.89.0.0/24"]);
const tuned = (on: ListSite, tuning: Json = all): readonly Json[] => [bridge(on), tuning];

/** Everything that `all` changes, as it is now. */
async function stateOf(on: ListSite, { path }: TestNetns): Promise<Json> {
  const [link] = await on.ip(path, "link", "show", "eth0");
  const flags = (link?.["flags"] ?? []) as readonly string[];
  const keys = ["net/ipv4/conf/eth0/arp_filter", "net/core/somaxconn", "net/ipv4/ip_local_port_range"];
  return {
    mac: link?.["address"],
    mtu: link?.["mtu"],
    txQLen: link?.["txqlen"],
    promisc: flags.includes("PROMISC"),
    allmulti: flags.includes("ALLMULTI"),
    sysctls: await Promise.all(keys.map((key) => on.sysctl(path, key))),
  };
}
const changed = {
  mac: MAC,
  mtu: 1400,
  txQLen: 77,
  promisc: true,
  allmulti: true,
  sysctls: ["1", "291", "2000\t3000"],
};

describe("ADD", () => {
  kernel("changes everything that is asked for, and says so; the container is still reached", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const result = await on.add(a, tuned(on));
    expect(await stateOf(on, a)).toEqual(changed);
    const inner = (result["interfaces"] as readonly Json[]).find((i) => i["sandbox"]);
    expect([inner?.["mac"], inner?.["mtu"]]).toEqual([MAC, 1400]);
    expect(await seenFrom(on.home, a.path, addressIn(result), 80)).toBe("10.89.0.1");
  });

  kernel("takes the MAC address of CNI_ARGS, of the runtime, and of args, the later first", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const other = "02:00:00:00:00:77";
    const of = { args: `IgnoreUnknown=1;MAC=${MAC}` };
    for (const [conf, wanted] of [
      [{ type: "tuning", mac: other }, MAC],
      [{ type: "tuning", runtimeConfig: { mac: other } }, other],
      [{ type: "tuning", runtimeConfig: { mac: MAC }, args: { cni: { mac: other } } }, other],
    ] as const) {
      const plugins = [bridgeOn(on, ["10.89.0.0/24"]), conf];
      // The bridge takes such an address too, and tuning finds it there.
      const prevResult = await on.add(a, [bridge(on)]);
      const reply = await on.call("ADD", a, { ...conf, prevResult }, of);
      expect(reply.message).toBe("");
      expect((await stateOf(on, a))["mac"]).toBe(wanted);
      await on.del(a, plugins, prevResult);
    }
  });

  kernel("that fails at its last change takes the others back", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const prevResult = await on.add(a, [bridge(on)]);
    const before = await stateOf(on, a);
    const sysctl = { "net.ipv4.conf.IFNAME.arp_filter": "1", "net.core.somaxconn": "many" };
    const reply = await on.call("ADD", a, { ...all, sysctl, prevResult });
    expect([reply.code, reply.error]).toEqual([1, 7]);
    expect(reply.message).toContain('sysctl net/core/somaxconn: the kernel does not take the value "many"');
    expect(await stateOf(on, a)).toEqual(before);
  });

  const bad: readonly (readonly [string, number, string, Json])[] = [
    ["a parameter that the kernel lacks", 110, "net/ipv4/no_such", { sysctl: { "net.ipv4.no_such": "1" } }],
    ["a parameter outside net", 7, "kernel.hostname", { sysctl: { "kernel.hostname": "x" } }],
    ["a way out of net", 7, "net/../kernel/hostname", { sysctl: { "net/../kernel/hostname": "x" } }],
    ["a MAC address of a group", 7, "mac", { mac: "01:00:5e:00:00:01" }],
    ["an MTU below the least", 7, "mtu", { mtu: 67 }],
    ["a queue below zero", 7, "txQLen", { txQLen: -1 }],
    ["a place for files that is none", 7, "dataDir", { dataDir: "run" }],
    ["no previous result", 7, "prevResult", { prevResult: undefined }],
  ];
  kernel.each(bad)("refuses %s with code %i", async (_, code, says, conf) => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const prevResult = await on.add(a, [bridge(on)]);
    const before = [await stateOf(on, a), await on.host.snapshot([a.path])];
    const reply = await on.call("ADD", a, { type: "tuning", prevResult, ...conf });
    expect([reply.code, reply.error]).toEqual([1, code]);
    expect(reply.message).toContain(says);
    expect([await stateOf(on, a), await on.host.snapshot([a.path])]).toEqual(before);
  });

  kernel("for an interface that is not there is an error and leaves the parameters alone", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const sysctl = { "net.core.somaxconn": "5" };
    const prevResult = { cniVersion: "1.1.0", interfaces: [], ips: [] };
    const before = await on.sysctl(a.path, "net/core/somaxconn");
    const reply = await on.call("ADD", a, { type: "tuning", sysctl, mtu: 1400, prevResult });
    expect([reply.code, reply.error]).toEqual([1, 105]);
    expect(await on.sysctl(a.path, "net/core/somaxconn")).toBe(before);
  });
});

describe("a second entry of a list", () => {
  kernel("is refused by a runtime that takes it, with what to do, and DEL takes the first back", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const [bridge, first] = [bridgeOn(on, ["10.96.0.0/24"]), { type: "tuning", mtu: 1400 }];
    const result = await on.add(a, [bridge, first]);
    const { error, message } = await on.call("ADD", a, { type: "tuning", mtu: 1300, prevResult: result });
    expect([error, message]).toEqual([
      101,
      expect.stringContaining("has tuning twice, join the two entries"),
    ]);
    await on.check(a, [bridge, first], result);
    await on.del(a, [bridge, first, first], result);
  });
});

describe("the list of what is allowed", () => {
  async function allowing(on: ListSite, text: string): Promise<void> {
    await on.host.exec(["mount", "-t", "tmpfs", "tmpfs", "/etc"]);
    await on.host.exec(["mkdir", "-p", "/etc/cni/tuning"]);
    await on.host.exec(["tee", "/etc/cni/tuning/allowlist.conf"], { stdin: text });
  }
  kernel("lets its keys pass, and no others; DEL and CHECK do not ask it", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const conf = { type: "tuning", sysctl: { "net.core.somaxconn": "5" } };
    const result = await on.add(a, tuned(on, conf));
    await allowing(on, "^net\\.ipv4\\.conf\\.IFNAME\\.\n");
    await on.check(a, tuned(on, conf), result);
    await on.del(a, tuned(on, conf), result);
    const prevResult = await on.add(a, [bridge(on)]);
    const refused = await on.call("ADD", a, { ...conf, prevResult });
    expect([refused.error, refused.message.includes("not allowed by /etc/cni/tuning")]).toEqual([7, true]);
    const allowed = { type: "tuning", sysctl: { "net.ipv4.conf.IFNAME.arp_filter": "1" }, prevResult };
    expect((await on.call("ADD", a, allowed)).message).toBe("");
  });
  kernel("with a line that is no expression stops every ADD that has parameters", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    await allowing(on, "^net\\.\n(\n");
    const prevResult = await on.add(a, [bridge(on)]);
    const reply = await on.call("ADD", a, { ...all, prevResult });
    expect([reply.error, reply.message.includes("allowlist.conf, line 2")]).toEqual([6, true]);
    expect((await on.call("ADD", a, { type: "tuning", mtu: 1400, prevResult })).message).toBe("");
  });
});

describe("DEL", () => {
  const how = [
    ["with all that a runtime knows", {}],
    ["with the key alone", { bare: true }],
  ] as const;
  kernel.each(how)("%s gives everything back, and may come twice", async (_, of) => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const result = await on.add(a, [bridge(on)]);
    const before = [await stateOf(on, a), await on.host.snapshot([a.path])];
    expect((await on.call("ADD", a, { ...all, prevResult: result })).message).toBe("");
    await on.del(a, [all], result, of);
    expect([await stateOf(on, a), await on.host.snapshot([a.path])]).toEqual(before);
    await on.del(a, [{ type: "tuning", mtu: "broken" }], result, of);
  });
  kernel("leaves alone what somebody has changed since", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const result = await on.add(a, tuned(on));
    await a.exec(["ip", "link", "set", "eth0", "mtu", "1300"]);
    await a.exec(["sysctl", "-qw", "net.core.somaxconn=7"]);
    await on.del(a, [all], result);
    const after = await stateOf(on, a);
    expect([after["mtu"], (after["sysctls"] as readonly string[])[1]]).toEqual([1300, "7"]);
    expect([after["txQLen"], after["promisc"]]).toEqual([1000, false]);
  });
  kernel("gives back all but what the kernel refuses by now, and comes to its end", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    await a.exec(["ip", "link", "add", "low", "type", "veth", "peer", "name", "low1"]);
    await a.exec(["ip", "link", "add", "eth0", "link", "low", "type", "macvlan"]);
    const prevResult = {
      cniVersion: "1.1.0",
      interfaces: [{ name: "eth0", sandbox: a.path }],
      ips: [],
    };
    const conf = { type: "tuning", mtu: 1300, txQLen: 77 };
    expect((await on.call("ADD", a, { ...conf, prevResult })).message).toBe("");
    await a.exec(["ip", "link", "set", "low", "mtu", "1350"]);
    await on.del(a, [conf], prevResult);
    const after = await stateOf(on, a);
    expect([after["mtu"], after["txQLen"]]).toEqual([1300, 1000]);
  });
  kernel("succeeds when the interface or the namespace is gone, and GC leaves no record", async () => {
    await using on = await listSite(heddle);
    const [a, b, c] = [await on.container(), await on.container(), await on.container()];
    const empty = await on.host.snapshot();
    const results = [await on.add(a, tuned(on)), await on.add(b, tuned(on)), await on.add(c, tuned(on))];
    await a.exec(["ip", "link", "delete", "eth0"]);
    await on.del(a, tuned(on), results[0] ?? {});
    await on.host.exec(["ip", "netns", "delete", b.name]);
    await on.del(b, tuned(on), results[1] ?? {}, { bare: true });
    for (const conf of tuned(on).toReversed())
      expect((await on.call("GC", c, { ...conf, "cni.dev/valid-attachments": [] })).message).toBe("");
    const left = (await on.host.snapshot()).filter((line) => !empty.includes(line));
    expect(left.filter((line) => line.startsWith("file") && !line.includes("last_reserved"))).toEqual([]);
    expect(await on.sysctl(c.path, "net/core/somaxconn")).toBe("4096");
  });
});

kernel("a MAC address that could not be put back is refused, and DEL succeeds", async () => {
  await using on = await listSite(heddle);
  const a = await on.container();
  const of = { ifname: "lo" };
  const prevResult = await on.add(a, [{ type: "loopback" }], of);
  const { error, message } = await on.call("ADD", a, { type: "tuning", mac: MAC, prevResult }, of);
  expect([error, message]).toEqual([7, expect.stringContaining("lo has no MAC address of its own")]);
  await on.del(a, [{ type: "tuning", mac: MAC }], prevResult, of);
  await on.add(a, [{ type: "tuning", txQLen: 77, prevResult }], of);
});

describe("CHECK", () => {
  kernel(
    "passes for bridge and tuning in one list, with values that the kernel prints otherwise",
    async () => {
      await using on = await listSite(heddle);
      const a = await on.container();
      await on.check(a, tuned(on), await on.add(a, tuned(on)));
    },
  );
  const damages: readonly (readonly [string, readonly string[]])[] = [
    ["the MAC address", ["ip", "link", "set", "eth0", "address", "02:00:00:00:00:66"]],
    ["the MTU", ["ip", "link", "set", "eth0", "mtu", "1300"]],
    ["promiscuous mode", ["ip", "link", "set", "eth0", "promisc", "off"]],
    ["all-multicast mode", ["ip", "link", "set", "eth0", "allmulticast", "off"]],
    ["the transmit queue", ["ip", "link", "set", "eth0", "txqueuelen", "500"]],
    ["a parameter", ["sysctl", "-qw", "net.ipv4.ip_local_port_range=2000 3001"]],
  ];
  kernel.each(damages)("finds that somebody changed %s", async (_, argv) => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const prevResult = await on.add(a, tuned(on));
    await a.exec(argv);
    expect((await on.call("CHECK", a, { ...all, prevResult })).error).toBe(103);
  });
  kernel("does not ask for what is not configured", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const plugins = tuned(on, { type: "tuning", mtu: 1400 });
    const result = await on.add(a, plugins);
    await a.exec(["ip", "link", "set", "eth0", "promisc", "on"]);
    await on.check(a, plugins, result);
  });
});

describe("what the reference tuned", () => {
  peerTest("is put back by our DEL from its file, which goes", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const prevResult = await on.add(a, [bridge(on)]);
    const before = await stateOf(on, a);
    const conf = { ...all, sysctl: {}, dataDir: join(on.host.dir, "backup") };
    expect((await on.call("ADD", a, { ...conf, prevResult }, { by })).message).toBe("");
    expect((await stateOf(on, a))["mac"]).toBe(MAC);
    await on.check(a, [conf], prevResult);
    await on.del(a, [conf], prevResult);
    expect(await stateOf(on, a)).toEqual(before);
    expect(existsSync(join(conf.dataDir, `${a.name}_eth0.json`))).toBe(false);
  });
  peerTest("leaves no file after our DEL when the namespace is gone", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const prevResult = await on.add(a, [bridge(on)]);
    const conf = { ...all, dataDir: join(on.host.dir, "backup") };
    expect((await on.call("ADD", a, { ...conf, prevResult }, { by })).message).toBe("");
    await on.host.exec(["ip", "netns", "delete", a.name]);
    await on.del(a, [conf, bridge(on)].toReversed(), prevResult, { bare: true });
    expect(existsSync(join(conf.dataDir, `${a.name}_eth0.json`))).toBe(false);
  });
});
