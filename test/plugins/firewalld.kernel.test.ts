/**
 * `firewall` with the real firewalld: its zones let containers through its own chains, and nothing else is changed.
 */
import { describe, expect } from "bun:test";
import { join } from "node:path";
import type { Entry } from "../../src/cli/ps/entry.ts";
import type { Description } from "../../src/cli/show/description.ts";
import { openSystemBus } from "../../src/dbus/bus.ts";
import { FIREWALLD, trustNetworks } from "../../src/firewall/firewalld.ts";
import { network } from "../../src/net/ip.ts";
import { cidr } from "../../src/testing/address.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { type Attached, type FirewallSite, firewallSite } from "../../src/testing/firewall-site.ts";
import { busEnv, firewalldTree, startBus, startFirewalld } from "../../src/testing/firewalld.ts";
import { testWith, whyNot } from "../../src/testing/needs.ts";
import type { TestProcess } from "../../src/testing/netns.ts";
import { peerProgram } from "../../src/testing/peer.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";
import { seenFrom } from "../../src/testing/traffic.ts";

const root = whyNot({ root: true }) === undefined;
const tree = root ? await firewalldTree() : undefined;
const peer = root ? await peerProgram("firewall") : undefined;
const kernel = testWith({
  root: true,
  programs: ["ip", "nft", "nsenter", "unshare"],
  feature: tree === undefined ? "needs firewalld" : true,
});
const heddle = heddleOfFile();

interface Daemon extends AsyncDisposable {
  readonly on: FirewallSite;
  readonly firewalld: TestProcess;
  /** Asks firewalld about zones, as a person would with firewall-cmd. */
  zone(member: string, ...args: readonly string[]): unknown;
  /** The bus that firewalld is on. */
  readonly bus: () => ReturnType<typeof openSystemBus>;
  /** What `heddle` prints as JSON. */
  json(...argv: readonly string[]): Promise<unknown>;
  /** What is on the host but for firewalld's own chains, which it makes as zones get their first source. */
  ours(): Promise<readonly string[]>;
}

async function withFirewalld(): Promise<Daemon> {
  const stack = new AsyncDisposableStack();
  const dir = stack.use(tempDir("bus"));
  const on = stack.use(await firewallSite(heddle, busEnv(dir.path)));
  stack.use(await startBus(on.host, dir.path, tree ?? ""));
  const firewalld = stack.use(await startFirewalld(on.host, dir.path, tree ?? ""));
  return {
    on,
    firewalld,
    zone: (member, ...args) => {
      using bus = openSystemBus(busEnv(dir.path));
      const reply = bus?.call({
        destination: FIREWALLD,
        path: "/org/fedoraproject/FirewallD1",
        interface: `${FIREWALLD}.zone`,
        member,
        args,
      });
      return reply?.kind === "return" ? reply.values[0] : reply?.message;
    },
    bus: () => openSystemBus(busEnv(dir.path)),
    json: async (...argv) =>
      JSON.parse((await on.host.cli([...argv, "--json"], busEnv(dir.path))).stdout) as unknown,
    ours: async () => (await on.host.snapshot()).filter((line) => !line.includes("table inet firewalld")),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const reachesOut = async (from: Attached, { outside }: FirewallSite): Promise<readonly boolean[]> =>
  (
    await Promise.all(
      ["192.0.2.2", "2001:db8::2"].map((address) => seenFrom(from.netns.path, outside.path, address, 80)),
    )
  ).map((seen) => seen !== undefined);
const sourcesOf = (one: Attached): string[] => [`${one.address4}/32`, `${one.address6}/128`];

describe("where firewalld runs", () => {
  kernel(
    "the addresses become sources of the zone trusted, and the container gets through",
    async () => {
      await using d = await withFirewalld();
      const bare = await d.on.attach(await d.on.container(), "foo");
      expect(await reachesOut(bare, d.on)).toEqual([false, false]);
      const before = await d.ours();
      expect((await d.on.firewall("ADD", bare)).message).toBe("");
      expect(d.zone("getSources", "trusted")).toEqual(sourcesOf(bare));
      expect(await reachesOut(bare, d.on)).toEqual([true, true]);
      expect((await d.on.firewall("CHECK", bare)).message).toBe("");
      expect((await d.on.host.exec(["nft", "list", "tables"])).stdout.trim()).toBe("table inet firewalld");
      const [entry] = (await d.json("ps")) as readonly Entry[];
      expect([entry?.state, entry?.plugins]).toEqual(["ok", ["bridge", "firewall"]]);
      const { rules } = (await d.json("show", entry?.key ?? "")) as Description;
      expect(rules.map((r) => [r.backend, r.where, r.text])).toEqual(
        sourcesOf(bare).map((source) => ["firewalld", "zone trusted", `source ${source}`]),
      );
      expect((await d.on.firewall("DEL", bare, { prevResult: undefined })).message).toBe("");
      expect(d.zone("getSources", "trusted")).toEqual([]);
      expect(await d.ours()).toEqual(before);
      expect((await d.on.firewall("DEL", bare)).message).toBe("");
    },
    60_000,
  );

  kernel(
    "a whole network is trusted once, and nobody is asked where it does not run",
    async () => {
      await using d = await withFirewalld();
      const one = await d.on.attach(await d.on.container(), "foo");
      expect(await reachesOut(one, d.on)).toEqual([false, false]);
      const networks = [network(cidr(`${one.address4}/24`)), network(cidr(`${one.address6}/64`))];
      const texts = networks.map(({ text }) => text);
      expect(trustNetworks(networks, d.bus).map(({ text }) => text)).toEqual(texts);
      expect(await reachesOut(one, d.on)).toEqual([true, true]);
      expect(trustNetworks(networks, d.bus)).toEqual([]);
      expect(d.zone("getSources", "trusted")).toEqual(texts);
      await d.firewalld[Symbol.asyncDispose]();
      expect(trustNetworks(networks, d.bus)).toEqual([]);
    },
    60_000,
  );

  kernel(
    "a source that somebody removed is a difference, and heddle reload puts it back",
    async () => {
      await using d = await withFirewalld();
      const one = await d.on.attach(await d.on.container(), "foo", { firewalldZone: "internal" });
      expect(d.zone("getSources", "internal")).toEqual(sourcesOf(one));
      d.zone("removeSource", "internal", `${one.address4}/32`);
      const check = await d.on.firewall("CHECK", one);
      expect([check.error, check.message.includes("zone internal")]).toEqual([103, true]);
      const { DBUS_SYSTEM_BUS_ADDRESS = "" } = d.on.env;
      expect((await d.on.host.cli(["reload"], { DBUS_SYSTEM_BUS_ADDRESS })).code).toBe(0);
      expect((await d.on.firewall("CHECK", one)).message).toBe("");
      // Somebody else's zone has it now: that is no source of ours any more.
      d.zone("removeSource", "internal", `${one.address4}/32`);
      d.zone("addSource", "work", `${one.address4}/32`);
      expect((await d.on.firewall("DEL", one)).message).toBe("");
      expect([d.zone("getSources", "internal"), d.zone("getSources", "work")]).toEqual([
        [],
        [`${one.address4}/32`],
      ]);
    },
    60_000,
  );

  kernel(
    "a refused address leaves nothing: no such zone, or a source of another zone",
    async () => {
      await using d = await withFirewalld();
      const one = await d.on.attach(await d.on.container(), "foo");
      const before = await d.ours();
      const unknown = await d.on.firewall("ADD", one, { firewalldZone: "nowhere" });
      expect([unknown.error, unknown.message.includes('no zone "nowhere"')]).toEqual([7, true]);
      d.zone("addSource", "public", `${one.address6}/128`);
      const taken = await d.on.firewall("ADD", one);
      expect([taken.error, taken.message.includes("already bound to a zone")]).toEqual([109, true]);
      expect(d.zone("getSources", "trusted")).toEqual([]);
      d.zone("removeSource", "public", `${one.address6}/128`);
      expect(await d.ours()).toEqual(before);
      const status = await d.on.firewall("STATUS", one, { firewalldZone: "nowhere" });
      expect([status.error, status.message.includes('no zone "nowhere"')]).toEqual([50, true]);
      expect((await d.on.firewall("STATUS", one)).message).toBe("");
    },
    60_000,
  );

  kernel(
    "policies hold beside its zones",
    async () => {
      await using d = await withFirewalld();
      const [a, b] = [await d.on.container(), await d.on.container()];
      const foo = await d.on.attach(a, "foo", { ingressPolicy: "same-bridge" });
      const bar = await d.on.attach(b, "bar", { ingressPolicy: "same-bridge" });
      expect(await seenFrom(a.path, b.path, bar.address4, 80)).toBeUndefined();
      expect(await reachesOut(foo, d.on)).toEqual([true, true]);
    },
    60_000,
  );

  kernel(
    "DEL succeeds when it does not run any more, and the record lost: then the previous result tells",
    async () => {
      await using d = await withFirewalld();
      const [one, two] = [
        await d.on.attach(await d.on.container(), "foo", {}),
        await d.on.attach(await d.on.container(), "foo", {}),
      ];
      await d.on.host.exec(["rm", "-rf", join(d.on.host.dir, "run/attachments")]);
      expect((await d.on.firewall("DEL", one)).message).toBe("");
      expect(d.zone("getSources", "trusted")).toEqual(sourcesOf(two));
      // The address has a new owner: a runtime that calls DEL again must not take it away.
      const next = { ...two, result: one.result };
      expect((await d.on.firewall("ADD", next)).message).toBe("");
      expect((await d.on.firewall("DEL", one)).message).toBe("");
      expect(d.zone("getSources", "trusted")).toEqual([...sourcesOf(two), ...sourcesOf(one)]);
      await d.firewalld[Symbol.asyncDispose]();
      expect((await d.on.firewall("DEL", next, { prevResult: undefined })).message).toBe("");
      const absent = await d.on.firewall("ADD", one, { backend: "firewalld" });
      expect([absent.error, absent.message.includes("nobody owns")]).toEqual([109, true]);
    },
    60_000,
  );

  kernel(
    "an address that two attachments have stays a source until the last of them goes",
    async () => {
      await using d = await withFirewalld();
      const one = await d.on.attach(await d.on.container(), "foo", {});
      // The same address in a container of another network.
      const other = await d.on.attach(await d.on.container(), "bar");
      const two = { ...other, result: one.result };
      expect((await d.on.firewall("ADD", two)).message).toBe("");
      expect(d.zone("getSources", "trusted")).toEqual(sourcesOf(one));
      expect((await d.on.firewall("DEL", one)).message).toBe("");
      expect((await d.on.firewall("DEL", one)).message).toBe("");
      expect(d.zone("getSources", "trusted")).toEqual(sourcesOf(one));
      expect((await d.on.firewall("CHECK", two)).message).toBe("");
      expect((await d.on.firewall("DEL", two)).message).toBe("");
      expect(d.zone("getSources", "trusted")).toEqual([]);
      // Both at the same time: one of them takes it along.
      for (const each of [one, two]) expect((await d.on.firewall("ADD", each)).message).toBe("");
      const replies = await Promise.all([d.on.firewall("DEL", one), d.on.firewall("DEL", two)]);
      expect(replies.map((r) => r.message)).toEqual(["", ""]);
      expect(d.zone("getSources", "trusted")).toEqual([]);
    },
    60_000,
  );

  kernel(
    "an ADD that fails leaves the sources that it found",
    async () => {
      await using d = await withFirewalld();
      const one = await d.on.attach(await d.on.container(), "foo", {});
      const two = { ...(await d.on.attach(await d.on.container(), "bar")), result: one.result };
      // Its second address is refused, and the first was there.
      d.zone("removeSource", "trusted", `${one.address6}/128`);
      d.zone("addSource", "public", `${one.address6}/128`);
      expect((await d.on.firewall("ADD", two)).error).toBe(109);
      expect(d.zone("getSources", "trusted")).toEqual([`${one.address4}/32`]);
      expect((await d.on.firewall("DEL", one)).message).toBe("");
      expect(d.zone("getSources", "trusted")).toEqual([]);
      // A person's own, before the refused address and behind it.
      d.zone("addSource", "trusted", `${one.address4}/32`);
      expect((await d.on.firewall("ADD", two)).error).toBe(109);
      expect(d.zone("getSources", "trusted")).toEqual([`${one.address4}/32`]);
      for (const [member, zone] of [
        ["removeSource", "public"],
        ["addSource", "trusted"],
      ] as const)
        d.zone(member, zone, `${one.address6}/128`);
      d.zone("removeSource", "trusted", `${one.address4}/32`);
      d.zone("addSource", "public", `${one.address4}/32`);
      expect((await d.on.firewall("ADD", two)).error).toBe(109);
      expect(d.zone("getSources", "trusted")).toEqual([`${one.address6}/128`]);
    },
    60_000,
  );

  testWith({ root: true, feature: tree && peer ? true : "needs firewalld and the reference plugins" })(
    "what the reference added is removed by our DEL, and the other way round",
    async () => {
      await using d = await withFirewalld();
      const { on } = d;
      const one = await on.attach(await on.container(), "foo");
      const key = { containerId: one.netns.name, netns: one.netns.path, ifname: "eth0", env: on.env };
      const reference = (command: "ADD" | "DEL") =>
        on.host.call(
          peer ?? "",
          { command, ...key },
          { ...one.conf, cniVersion: "1.0.0", prevResult: { ...one.result, cniVersion: "1.0.0" } },
        );
      expect((await reference("ADD")).message).toBe("");
      expect(d.zone("getSources", "trusted")).toEqual(sourcesOf(one));
      expect((await on.firewall("DEL", one)).message).toBe("");
      expect(d.zone("getSources", "trusted")).toEqual([]);
      expect((await on.firewall("ADD", one)).message).toBe("");
      expect((await reference("DEL")).message).toBe("");
      expect(d.zone("getSources", "trusted")).toEqual([]);
      expect((await on.firewall("DEL", one)).message).toBe("");
    },
    60_000,
  );
});
