/** `flannel` by the built executable: what its delegate makes of the daemon's file, and that nothing stays whatever becomes of it. */
import { describe, expect } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import type { TestNetns } from "../../src/testing/netns.ts";
import { connectFrom, serveIn } from "../../src/testing/traffic.ts";
import { addressIn, bridgeOn, type Json, type ListSite, listSite } from "./list-site.ts";

const kernel = testWith({ root: true, programs: ["ip", "nft", "nsenter", "unshare"] });
const heddle = heddleOfFile();

const V4 = ["FLANNEL_NETWORK=10.96.0.0/13", "FLANNEL_SUBNET=10.98.3.1/24"];
const V6 = ["FLANNEL_IPV6_NETWORK=fd96::/48", "FLANNEL_IPV6_SUBNET=fd96:0:0:3::1/64"];
const REST = ["FLANNEL_MTU=1450", "FLANNEL_IPMASQ=true"];

const subnetFile = ({ host }: ListSite): string => join(host.dir, "subnet.env");
const dataDir = ({ host }: ListSite): string => join(host.dir, "flannel");
const tell = (on: ListSite, lines: readonly string[]): void =>
  writeFileSync(subnetFile(on), [...lines, ""].join("\n"));
const flannel = (on: ListSite, more: Json = {}): Json => ({
  type: "flannel",
  subnetFile: subnetFile(on),
  dataDir: dataDir(on),
  delegate: { bridge: "lists0", isDefaultGateway: true },
  ipam: { dataDir: join(on.host.dir, "ipam") },
  ...more,
});
const kept = (on: ListSite): readonly string[] => readdirSync(dataDir(on)).toSorted();
const lookAt = (on: ListSite, at: TestNetns): Promise<readonly string[]> => on.host.snapshot([at.path]);

/** What is shared and stays: the bridge, its chains, forwarding. */
async function usedBefore(on: ListSite, at: TestNetns): Promise<readonly string[]> {
  const plugins = [flannel(on)];
  await on.del(at, plugins, await on.add(at, plugins));
  return lookAt(on, at);
}

describe("a container of both families", () => {
  kernel(
    "has addresses of the host's subnets, the MTU, the gateway and routes, and reaches the host",
    async () => {
      await using on = await listSite(heddle);
      const a = await on.container();
      tell(on, [...V4, ...V6, ...REST]);
      const before = await usedBefore(on, a);
      const result = await on.add(a, [flannel(on)]);
      expect([addressIn(result, 0), addressIn(result, 1)]).toEqual([
        expect.stringMatching(/^10\.98\.3\.\d+$/),
        expect.stringMatching(/^fd96:0:0:3::[0-9a-f]+$/),
      ]);
      const [link] = await on.ip(a.path, "link", "show", "eth0");
      expect(link).toMatchObject({ mtu: 1450 });
      const routes = (await on.ip(a.path, "route")).map((r) => `${String(r["dst"])} ${String(r["gateway"])}`);
      expect(routes).toContain("10.96.0.0/13 10.98.3.1");
      expect(routes).toContain("default 10.98.3.1");
      await using _server = await serveIn(on.home, "10.98.3.1", 8080);
      expect((await connectFrom(a.path, "10.98.3.1", 8080)).stdout.trim()).toBe(addressIn(result));
      await on.check(a, [flannel(on)], result);
      const { stdout } = await on.host.cli(["ps", "--json"], {});
      expect(JSON.parse(stdout)).toMatchObject([{ containerId: a.name, state: "ok", plugins: ["bridge"] }]);
      await on.del(a, [flannel(on)], result);
      expect(await lookAt(on, a)).toEqual(before);
      expect(kept(on)).toEqual([]);
    },
  );
});

describe("a host that lost its subnet and has another one", () => {
  kernel(
    "keeps the containers that it has, and gives new ones a bridge of their own beside them",
    async () => {
      await using on = await listSite(heddle);
      const [a, b] = [await on.container(), await on.container()];
      tell(on, [...V4, ...REST]);
      const first = await on.add(a, [flannel(on)]);
      tell(on, ["FLANNEL_NETWORK=10.96.0.0/13", "FLANNEL_SUBNET=10.97.8.1/24", ...REST]);
      const second = await on.add(b, [flannel(on)]);
      expect(addressIn(first)).toStartWith("10.98.3.");
      expect(addressIn(second)).toStartWith("10.97.8.");
      const bridges = await on.ip(on.home, "link", "show", "type", "bridge");
      expect(bridges.map(({ ifname }) => ifname).toSorted()).toEqual(["cni0a610800", "lists0"]);
      // Each reaches the other, and both are as they were made.
      for (const [from, to, address] of [
        [a, b, addressIn(second)],
        [b, a, addressIn(first)],
      ] as const) {
        await using _server = await serveIn(to.path, address, 8080);
        expect((await connectFrom(from.path, address, 8080)).stdout.trim()).not.toBe("");
      }
      await on.check(a, [flannel(on)], first);
      await on.check(b, [flannel(on)], second);
      await on.del(a, [flannel(on)], first);
      await on.del(b, [flannel(on)], second);
      expect(kept(on)).toEqual([]);
    },
  );
});

describe("DEL leaves nothing", () => {
  const changes: readonly (readonly [string, (on: ListSite) => void])[] = [
    [
      "when the host has another subnet",
      (on) => tell(on, ["FLANNEL_NETWORK=10.60.0.0/16", "FLANNEL_SUBNET=10.60.9.1/24", ...REST]),
    ],
    ["when the daemon's file is gone", (on) => rmSync(subnetFile(on))],
    ["when the daemon's file is broken", (on) => writeFileSync(subnetFile(on), "FLANNEL_MTU=\0")],
    ["when what was kept is lost", (on) => rmSync(dataDir(on), { recursive: true })],
    [
      "when what was kept and the daemon's file are lost",
      (on) => {
        rmSync(dataDir(on), { recursive: true });
        rmSync(subnetFile(on));
      },
    ],
    ["when the record is lost", (on) => rmSync(join(on.host.dir, "run", "attachments"), { recursive: true })],
  ];
  kernel.each(changes)("%s, and is told the key alone", async (_when, change) => {
    await using on = await listSite(heddle);
    const a = await on.container();
    tell(on, [...V4, ...REST]);
    const before = await usedBefore(on, a);
    const result = await on.add(a, [flannel(on)]);
    change(on);
    await on.del(a, [flannel(on)], result, { bare: true });
    await on.del(a, [flannel(on)], result, { bare: true });
    mkdirSync(dataDir(on), { recursive: true });
    expect(kept(on)).toEqual([]);
    const empty = (line: string): boolean => /run\/attachments$|last_reserved/.test(line);
    expect((await lookAt(on, a)).filter((l) => !empty(l))).toEqual(before.filter((l) => !empty(l)));
  });
});

describe("the original plugin's containers", () => {
  kernel("are removed by what it kept, and what Heddle keeps names its own", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    tell(on, [...V4, ...REST]);
    const before = await usedBefore(on, a);
    // What the original does: it writes the delegate's configuration and runs the delegate.
    const bridge = { ...bridgeOn(on, ["10.98.3.0/24"]), mtu: 1450, ipMasq: false };
    const result = await on.add(a, [bridge]);
    const conf = JSON.stringify({ cniVersion: "0.3.1", name: "lists", ...bridge });
    writeFileSync(join(dataDir(on), a.name), conf, { mode: 0o600 });
    await on.check(a, [flannel(on)], result);
    rmSync(subnetFile(on));
    await on.del(a, [flannel(on)], result, { bare: true });
    expect(kept(on)).toEqual([]);
    expect(await lookAt(on, a)).toEqual(before);
    tell(on, [...V4, ...REST]);
    const again = await on.add(a, [flannel(on)]);
    const file = JSON.parse(readFileSync(join(dataDir(on), a.name), "utf8")) as Json;
    expect(file).toMatchObject({
      name: "lists",
      type: "bridge",
      mtu: 1450,
      ipMasq: false,
      heddle: { ifname: "eth0" },
    });
    // And what the original does at DEL: it runs the delegate with that.
    await on.del(a, [file], again, { bare: true });
    expect(await lookAt(on, a)).toEqual([...before]);
  });
});

describe("GC", () => {
  kernel("removes what is no longer valid, with what was kept for it, and leaves the rest", async () => {
    await using on = await listSite(heddle);
    const [a, b] = [await on.container(), await on.container()];
    tell(on, [...V4, ...REST]);
    const before = await on.host.snapshot([a.path, b.path]);
    expect(before.length).toBeGreaterThan(0);
    const [one, two] = [await on.add(a, [flannel(on)]), await on.add(b, [flannel(on)])];
    expect(addressIn(one)).not.toBe(addressIn(two));
    const valid = [{ containerID: b.name, ifname: "eth0" }];
    const reply = await on.call("GC", a, { ...flannel(on), "cni.dev/valid-attachments": valid });
    expect(reply.code).toBe(0);
    expect(kept(on)).toEqual([b.name]);
    expect(await on.ip(a.path, "link", "show", "type", "veth")).toEqual([]);
    await on.check(b, [flannel(on)], two);
    await on.del(b, [flannel(on)], two);
    expect(kept(on)).toEqual([]);
  });
});

describe("without the daemon's file", () => {
  kernel("ADD and STATUS say what writes it, and change nothing", async () => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const before = await lookAt(on, a);
    const added = await on.call("ADD", a, flannel(on));
    expect(added).toMatchObject({
      error: 11,
      message: expect.stringContaining("this host has no subnet yet"),
    });
    const conf = { cniVersion: "1.1.0", name: "lists", ...flannel(on) };
    const status = await on.host.call("flannel", { command: "STATUS" }, conf);
    expect(status).toMatchObject({ error: 50, message: expect.stringContaining("heddle flanneld") });
    expect(await lookAt(on, a)).toEqual(before);
    tell(on, [...V4, ...REST]);
    expect((await on.host.call("flannel", { command: "STATUS" }, conf)).code).toBe(0);
  });
});
