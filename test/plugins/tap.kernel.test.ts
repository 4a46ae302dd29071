/** `tap` by the built executable: what the link is, frames through it to a program that holds its other end, and CHECK. */
import { describe, expect } from "bun:test";
import { join } from "node:path";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith, whyNot } from "../../src/testing/needs.ts";
import type { TestNetns } from "../../src/testing/netns.ts";
import { peerProgram } from "../../src/testing/peer.ts";
import { addressIn, type Json, type ListSite, listSite } from "./list-site.ts";

const needs = { root: true, programs: ["ip", "nft", "nsenter", "unshare"] };
const kernel = testWith(needs);
const peer = whyNot(needs) === undefined ? await peerProgram("tap") : undefined;
const peerTest = testWith({ ...needs, feature: peer === undefined ? "needs the reference plugins" : true });
const by = peer?.slice(0, peer.lastIndexOf("/")) ?? "";

const heddle = heddleOfFile();

const MAC = "02:00:00:00:0e:01";
const ipam = ({ host }: ListSite): Json => ({
  type: "host-local",
  dataDir: join(host.dir, "ipam"),
  ranges: [[{ subnet: "10.84.0.0/24" }], [{ subnet: "fd84::/64" }]],
  routes: [{ dst: "198.18.0.0/24" }],
});
const tap = (more: Json = {}): Json => ({ type: "tap", ...more });
const withIps = (on: ListSite, more: Json = {}): Json => tap({ ipam: ipam(on), ...more });

interface TapJson {
  readonly address: string;
  readonly mtu: number;
  readonly flags: readonly string[];
  readonly master?: string;
  readonly linkinfo: { readonly info_kind: string; readonly info_data: Json };
}
const tapIn = async (on: ListSite, { path }: TestNetns, name = "eth0"): Promise<TapJson> =>
  (await on.ip(path, "-details", "link", "show", name))[0] as unknown as TapJson;

/**
 * A program that holds the other end, as a virtual machine does, and answers ARP requests for an address. Its ioctl is
 * what a test of taps is about, so that it is written out here: TUNSETIFF, flags IFF_TAP and IFF_NO_PI.
 */
const MACHINE = `
  import { dlopen } from "bun:ffi";
  import { openSync, readSync, writeSync } from "node:fs";
  const [name, ip, mac] = process.argv.slice(-3);
  const { ioctl } = dlopen("libc.so.6", { ioctl: { args: ["i32", "u64", "buffer"], returns: "i32" } }).symbols;
  const fd = openSync("/dev/net/tun", "r+");
  const ifreq = Buffer.alloc(40);
  ifreq.write(name);
  ifreq.writeUInt16LE(0x1002, 16);
  if (ioctl(fd, 0x400454ca, ifreq) !== 0) throw new Error("TUNSETIFF");
  console.log("holds " + name);
  const own = Buffer.from(mac.replaceAll(":", ""), "hex");
  const frame = Buffer.alloc(2048);
  for (;;) {
    const n = readSync(fd, frame);
    const wanted = frame.subarray(38, 42).join(".");
    if (n < 42 || frame.readUInt16BE(12) !== 0x0806 || frame.readUInt16BE(20) !== 1 || wanted !== ip) continue;
    const answer = Buffer.from(frame.subarray(0, 42));
    frame.copy(answer, 0, 6, 12);
    own.copy(answer, 6);
    answer.writeUInt16BE(2, 20);
    own.copy(answer, 22);
    frame.copy(answer, 28, 38, 42);
    frame.copy(answer, 32, 22, 32);
    writeSync(fd, answer);
  }`;

/** The hardware address that the container learns of its machine, after asking for it. */
async function learned(at: TestNetns, link: string, ip: string): Promise<string> {
  await at.exec([
    process.execPath,
    "-e",
    'const s = await Bun.udpSocket({}); s.send("x", 9, process.argv.at(-1)); await Bun.sleep(0); s.close();',
    ip,
  ]);
  for (;;) {
    const { stdout } = await at.exec(["ip", "-json", "neighbour", "show", "to", ip, "dev", link]);
    const [entry] = JSON.parse(stdout || "[]") as { lladdr?: string; state?: readonly string[] }[];
    if (entry?.lladdr) return entry.lladdr;
    if (entry?.state?.includes("FAILED")) return "nobody";
  }
}

describe("ADD and DEL", () => {
  kernel("make a tap with what was asked for, and take it away", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const before = await on.host.snapshot([a.path]);
    const conf = withIps(on, { mtu: 1400, mac: MAC, owner: 7, group: 8, multiQueue: true });
    const result = await on.add(a, [conf]);
    expect(result["interfaces"]).toEqual([{ name: "eth0", mac: MAC, mtu: 1400, sandbox: a.path }]);
    expect((result["ips"] as readonly Json[]).map((ip) => ip["interface"])).toEqual([0, 0]);
    const link = await tapIn(on, a);
    expect(link).toMatchObject({ address: MAC, mtu: 1400, flags: expect.arrayContaining(["UP"]) as unknown });
    expect(link.linkinfo).toMatchObject({
      info_kind: "tun",
      info_data: { type: "tap", pi: false, vnet_hdr: true, multi_queue: true, persist: true },
    });
    await on.check(a, [conf], result);
    await on.del(a, [conf], result);
    expect(await on.host.snapshot([a.path])).toEqual(before);
    await on.del(a, [conf], result);
  });

  kernel("give owner and group each by itself, and neither", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    for (const [more, wanted] of [
      [{ owner: 7 }, { owner: 7 }],
      [{ group: 8 }, { group: 8 }],
      [
        { owner: 0, group: 4294967294 },
        { owner: 0, group: 4294967294 },
      ],
      [{}, {}],
    ] as const) {
      const result = await on.add(a, [tap(more)]);
      await on.check(a, [tap(more)], result);
      // CHECK of what it is not tells what it is.
      const other = { owner: 9, group: 9 };
      const { message } = await on.call("CHECK", a, { ...tap(other), prevResult: result });
      expect(message).toContain(
        `owner of eth0: want 9, found ${"owner" in wanted ? wanted.owner : "anybody"}`,
      );
      await on.del(a, [tap(more)], result);
    }
  });

  kernel(
    "take the MAC address of the configuration, of CNI_ARGS, and of the runtime, the later first",
    async () => {
      await using on = await listSite(heddle);
      const a = await on.container();
      const [one, two, three] = ["02:00:00:00:0e:11", "02:00:00:00:0e:12", "02:00:00:00:0e:13"];
      const rows = [
        [{ mac: one }, undefined, one],
        [{ mac: one }, `IgnoreUnknown=1;MAC=${two}`, two],
        [{ mac: one, runtimeConfig: { mac: three } }, `IgnoreUnknown=1;MAC=${two}`, three],
      ] as const;
      for (const [more, args, wanted] of rows) {
        const result = await on.add(a, [tap(more)], args ? { args } : {});
        expect((await tapIn(on, a)).address).toBe(wanted);
        await on.del(a, [tap(more)], result);
      }
    },
  );

  kernel("of the key alone take it away as well, with and without the record", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const before = await on.host.snapshot([a.path]);
    const result = await on.add(a, [withIps(on)]);
    await on.del(a, [withIps(on)], result, { bare: true });
    expect(await on.host.snapshot([a.path])).toEqual(before);
    await on.add(a, [withIps(on)]);
    await on.host.exec(["rm", "-r", join(on.host.dir, "run")]);
    await on.del(a, [withIps(on)], result);
    expect(await on.host.snapshot([a.path])).toEqual(before);
  });

  kernel("warn of a label that nobody looks at", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const key = { command: "ADD", containerId: a.name, netns: a.path, ifname: "eth0" } as const;
    const conf = { cniVersion: "1.1.0", name: "lists", ...tap({ selinuxContext: "a:b:c:s0" }) };
    // Nothing is said on standard error of a reply that succeeded, so that it is asked for here.
    const { stderr } = await on.host.exec([heddle.at("tap")], {
      env: {
        PATH: process.env["PATH"] ?? "",
        HEDDLE_RUN_DIR: join(on.host.dir, "run"),
        CNI_COMMAND: key.command,
        CNI_CONTAINERID: key.containerId,
        CNI_NETNS: key.netns,
        CNI_IFNAME: key.ifname,
        CNI_PATH: heddle.cniPath,
      },
      stdin: JSON.stringify(conf),
    });
    expect(stderr).toContain("selinuxContext is ignored");
  });
});

describe("frames", () => {
  kernel("reach a program that holds the other end, and come back from it", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    await on.add(a, [withIps(on)]);
    await using machine = a.start([
      process.execPath,
      "-e",
      MACHINE,
      "eth0",
      "10.84.0.77",
      "02:00:00:00:0e:77",
    ]);
    await machine.printed("holds");
    expect(await learned(a, "eth0", "10.84.0.77")).toBe("02:00:00:00:0e:77");
  });

  kernel("pass between a bridge of the container and the program", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const lines = ["link add inner0 up type bridge", "address add 10.84.1.1/24 dev inner0"];
    await a.exec(["ip", "-batch", "-"], { stdin: `${lines.join("\n")}\n` });
    const conf = tap({ bridge: "inner0" });
    const result = await on.add(a, [conf]);
    expect(await tapIn(on, a)).toMatchObject({ master: "inner0" });
    await on.check(a, [conf], result);
    await using machine = a.start([
      process.execPath,
      "-e",
      MACHINE,
      "eth0",
      "10.84.1.77",
      "02:00:00:00:0e:78",
    ]);
    await machine.printed("holds");
    expect(await learned(a, "inner0", "10.84.1.77")).toBe("02:00:00:00:0e:78");
    await a.exec(["ip", "link", "set", "eth0", "nomaster"]);
    expect((await on.call("CHECK", a, { ...conf, prevResult: result })).error).toBe(103);
  });
});

describe("refused and unchanged", () => {
  kernel.each([
    ["a bridge that the container does not have", 7, "bridge: there is no link none0", { bridge: "none0" }],
    ["a bridge that is none", 7, "bridge: lo", { bridge: "lo" }],
    ["an MTU that no frame has", 7, "mtu: 65522", { mtu: 65522 }],
  ] as const)("is %s, by code %i", async (_, code, says, more) => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const before = await on.host.snapshot([a.path]);
    const { error, message } = await on.call("ADD", a, withIps(on, more));
    expect([error, message]).toEqual([code, expect.stringContaining(says)]);
    expect(await on.host.snapshot([a.path])).toEqual(before);
  });

  kernel("is a name that is taken, also by a tap, and a second ADD", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    for (const type of [
      ["link", "add", "eth0", "type", "veth", "peer", "name", "eth9"],
      ["tuntap", "add", "eth0", "mode", "tap"],
    ]) {
      await a.exec(["ip", ...type]);
      const before = await on.host.snapshot([a.path]);
      for (const conf of [tap(), withIps(on)])
        expect(await on.call("ADD", a, conf)).toMatchObject({ error: 104 });
      expect(await on.host.snapshot([a.path])).toEqual(before);
      await a.exec(["ip", "link", "delete", "eth0"]);
    }
    await on.add(a, [tap()]);
    expect(await on.call("ADD", a, tap())).toMatchObject({ error: 101 });
  });
});

describe("CHECK", () => {
  kernel("finds each kind of damage", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const conf = withIps(on, { mac: MAC });
    const damages = (address: string): Readonly<Record<string, readonly (readonly string[])[]>> => ({
      "another MAC address": [["link", "set", "eth0", "address", "02:00:00:00:0e:99"]],
      "a link that is down": [["link", "set", "eth0", "down"]],
      "an address that is gone": [["address", "delete", `${address}/24`, "dev", "eth0"]],
      "another kind of link": [
        ["link", "delete", "eth0"],
        ["link", "add", "eth0", "address", MAC, "type", "veth", "peer", "name", "eth9"],
      ],
    });
    for (const name of Object.keys(damages(""))) {
      const result = await on.add(a, [conf]);
      await on.check(a, [conf], result);
      for (const line of damages(addressIn(result))[name] ?? []) await a.exec(["ip", ...line]);
      const { error } = await on.call("CHECK", a, { ...conf, prevResult: result });
      expect([name, error]).toEqual([name, 103]);
      await a.exec(["ip", "link", "delete", "eth0"]);
      await on.del(a, [conf], result);
    }
  });
});

describe("selinuxContext", () => {
  kernel("is refused on a host with SELinux, and nothing is left", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    // What tells such a host from another one.
    await on.host.exec(["mount", "-t", "tmpfs", "tmpfs", "/sys/fs"]);
    await on.host.exec(["mkdir", "/sys/fs/selinux"]);
    await on.host.exec(["touch", "/sys/fs/selinux/enforce"]);
    const before = await on.host.snapshot([a.path]);
    const { error, message } = await on.call("ADD", a, withIps(on, { selinuxContext: "a:b:c:s0" }));
    expect([error, message]).toEqual([2, expect.stringContaining("relabelfrom")]);
    expect(await on.host.snapshot([a.path])).toEqual(before);
    await on.add(a, [withIps(on)]);
  });
});

describe("STATUS", () => {
  kernel("says whether the host can make taps", async () => {
    await using on = await listSite(heddle);
    const status = () =>
      on.host.call("tap", { command: "STATUS" }, { cniVersion: "1.1.0", name: "lists", ...tap() });
    expect((await status()).message).toBe("");
    await on.host.exec(["mount", "-t", "tmpfs", "tmpfs", "/dev/net"]);
    expect(await status()).toMatchObject({ error: 50 });
    const a = await on.container();
    expect(await on.call("ADD", a, tap())).toMatchObject({ error: 110 });
  });
});

describe("beside the reference", () => {
  peerTest("removes and checks what it made, and has its own removed by it", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const conf = withIps(on, { owner: 7, group: 8 });
    const before = await on.host.snapshot([a.path]);
    const theirs = await on.add(a, [conf], { by });
    await on.check(a, [conf], theirs);
    await on.del(a, [conf], theirs);
    expect(await on.host.snapshot([a.path])).toEqual(before);
    const ours = await on.add(a, [conf]);
    await on.check(a, [conf], ours, { by });
    await on.del(a, [conf], ours, { by });
    expect((await on.ip(a.path, "link", "show")).map((l) => l["ifname"])).toEqual(["lo"]);
  });
});
