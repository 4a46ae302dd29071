/** Beside `sample.test.ts`: verbs and refusals, asked of the reference plugins and of ours. */
import { describe, expect } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { pluginTypes } from "../../src/plugins/registry.ts";
import { cniHost, type CniHost, type PluginReply } from "../../src/testing/cni-host.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith, whyNot } from "../../src/testing/needs.ts";
import { testNetns } from "../../src/testing/netns.ts";
import { peerProgram } from "../../src/testing/peer.ts";

const peer = whyNot({ root: true }) === undefined ? await peerProgram("bridge") : undefined;
const kernel = testWith({
  root: true,
  programs: ["ip", "nft", "iptables", "nsenter", "unshare"],
  feature: peer === undefined ? "needs the reference plugins" : true,
});
const peerPath = peer?.slice(0, peer.lastIndexOf("/")) ?? "";

const heddle = heddleOfFile();

interface Player {
  readonly host: CniHost;
  readonly file: (type: string) => string;
  readonly path: string;
}
type Json = Readonly<Record<string, unknown>>;

async function players(stack: AsyncDisposableStack): Promise<readonly [reference: Player, ours: Player]> {
  const host = async (): Promise<CniHost> => stack.use(await cniHost(heddle));
  return [
    { host: await host(), file: (type) => join(peerPath, type), path: peerPath },
    { host: await host(), file: (type) => heddle.at(type), path: heddle.cniPath },
  ];
}

const families = {
  v4: ["10.96.0.0/24"],
  v6: ["fd96::/64"],
  "dual stack": ["10.96.0.0/24", "fd96::/64"],
} as const;
const L2 = "no IPAM";
type Kind = keyof typeof families | typeof L2;

const ipamOf = ({ host }: Player, kind: Kind): object =>
  kind === L2
    ? {}
    : {
        ipam: {
          type: "host-local",
          dataDir: join(host.dir, "ipam"),
          ranges: families[kind].map((subnet) => [{ subnet }]),
          routes: [
            { dst: "203.0.113.0/24", gw: "10.96.0.1" },
            { dst: "2001:db8::/32", gw: "fd96::1" },
          ].filter(({ gw }) => (gw.includes(":") ? kind !== "v4" : kind !== "v6")),
        },
      };

/** What differs by chance between two calls, made the same. */
function normal(value: unknown, netns: string): unknown {
  const text = JSON.stringify(value)
    .replaceAll(netns, "NETNS")
    .replaceAll(/"(mac)":"(?!00:00:00:00:00:00)[0-9a-f:]{17}"/g, '"$1":"MAC"')
    .replaceAll(/"veth[0-9a-f]{8}"/g, '"VETH"')
    // The reference fills in no MTU; ours does from 1.1.0 on.
    .replaceAll(/"mtu":\d+,?/g, "")
    .replaceAll(",}", "}");
  return JSON.parse(text) as unknown;
}

interface Answers {
  readonly add: { readonly code: number; readonly result: unknown };
  readonly check: number | undefined;
  readonly del: number;
}

/** ADD, CHECK where there is one, and DEL. */
async function live(player: Player, type: string, conf: Json, more: Json = {}): Promise<Answers> {
  await using netns = await testNetns();
  const key = { containerId: "c", netns: netns.path, ifname: "eth0", env: { CNI_PATH: player.path } };
  const call = (command: "ADD" | "CHECK" | "DEL", extra: Json): Promise<PluginReply> =>
    player.host.call(player.file(type), { command, ...key }, { ...conf, type, ...more, ...extra });
  const add = await call("ADD", {});
  const prevResult = add.result;
  const checks = add.code === 0 && String(conf["cniVersion"]) >= "0.4.0";
  const check = checks ? await call("CHECK", { prevResult }) : undefined;
  const del = await call("DEL", checks ? { prevResult } : {});
  return {
    add: { code: add.code, result: add.result && normal(add.result, netns.path) },
    check: check?.code,
    del: del.code,
  };
}

describe("ours and the reference", () => {
  kernel("differ in loopback below 1.0.0, where ours prints the version that was asked for", async () => {
    await using stack = new AsyncDisposableStack();
    const on = await players(stack);
    // The reference prints a result of 1.0.0 under the older number.
    const { add, check } = await live(on[1], "loopback", { cniVersion: "0.4.0", name: "conf" });
    expect(check).toBe(0);
    expect(add.result).toMatchObject({
      cniVersion: "0.4.0",
      ips: [{ version: "4", address: "127.0.0.1/8" }, {}],
    });
    const { add: old } = await live(on[1], "loopback", { cniVersion: "0.2.0", name: "conf" });
    expect(old.result).toMatchObject({ cniVersion: "0.2.0", ip4: { ip: "127.0.0.1/8" } });
  });

  kernel("VERSION, of every plugin that both have", async () => {
    await using stack = new AsyncDisposableStack();
    const on = await players(stack);
    const both = pluginTypes.filter((type) => existsSync(join(peerPath, type)));
    expect(both.length).toBeGreaterThan(12);
    for (const type of both) {
      const [reference, ours] = await Promise.all(
        on.map((p) => p.host.call(p.file(type), { command: "VERSION" }, { cniVersion: "1.0.0" })),
      );
      expect(ours?.result?.["supportedVersions"]).toEqual(reference?.result?.["supportedVersions"]);
    }
  });

  kernel("STATUS says that ADD would work, and passes on what IPAM says", async () => {
    await using stack = new AsyncDisposableStack();
    const [, ours] = await players(stack);
    const status = (type: string, more: object) =>
      ours.host.call(
        ours.file(type),
        { command: "STATUS", env: { CNI_PATH: ours.path } },
        {
          cniVersion: "1.1.0",
          name: "conf",
          type,
          ...more,
        },
      );
    for (const type of ["bridge", "ptp"]) expect((await status(type, ipamOf(ours, "v4"))).code).toBe(0);
    expect((await status("bridge", {})).code).toBe(0);
    for (const type of ["loopback", "bandwidth", "portmap"]) expect((await status(type, {})).code).toBe(0);
    // Two addresses: the gateway's and one more.
    const full = {
      ipam: { type: "host-local", dataDir: join(ours.host.dir, "full"), subnet: "10.96.1.0/30" },
    };
    const { add } = await live(ours, "bridge", {
      cniVersion: "1.1.0",
      name: "conf",
      isGateway: true,
      ...full,
    });
    expect(add.code).toBe(0);
    await using netns = await testNetns();
    const key = { containerId: "full", netns: netns.path, ifname: "eth0", env: { CNI_PATH: ours.path } };
    const conf = { cniVersion: "1.1.0", name: "conf", type: "bridge", ...full };
    expect((await ours.host.call(ours.file("bridge"), { command: "ADD", ...key }, conf)).code).toBe(0);
    expect((await status("bridge", full)).error).toBe(50);
  });

  kernel("bad options are refused by both", async () => {
    await using stack = new AsyncDisposableStack();
    const on = await players(stack);
    const bad: readonly (readonly [string, Json, string[]])[] = [
      ["bridge", { hairpinMode: true, promiscMode: true }, families.v4.slice()],
      ["bridge", { disableContainerInterface: true }, families.v4.slice()],
      ["bridge", { bridge: "lo" }, families.v4.slice()],
      ["ptp", { ipam: {} }, []],
    ];
    for (const [type, options] of bad)
      for (const player of on) {
        const conf = { cniVersion: "1.0.0", name: "conf", ...ipamOf(player, "v4"), ...options };
        const { add, del } = await live(player, type, conf);
        expect([type, options, add.code]).toEqual([type, options, 1]);
        if (player === on[1]) expect([type, options, del]).toEqual([type, options, 0]);
      }
  });
});
