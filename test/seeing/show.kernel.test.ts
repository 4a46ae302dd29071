/** `heddle show` on a host of its own: the description is what the kernel has, whatever the records say. */
import { describe, expect } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Entry } from "../../src/cli/ps/entry.ts";
import type { Description, Station } from "../../src/cli/show/description.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { testNetns } from "../../src/testing/netns.ts";
import { seeingSite, type Site } from "./site.ts";

const heddle = heddleOfFile();
const hostTest = testWith({ root: true, programs: ["ip", "nft", "iptables", "tc", "nsenter", "unshare"] });

const TCP = { hostPort: 8080, containerPort: 80, protocol: "tcp" };
const UDP = { hostPort: 53, containerPort: 5353, protocol: "udp", hostIP: "127.0.0.1" };

async function keyOf(site: Site, network: string): Promise<string> {
  const [entry] = await site.json<readonly Entry[]>("ps", "--network", network);
  if (entry === undefined) throw new Error(`nothing is attached to ${network}`);
  return entry.key;
}
const show = async (site: Site, network: string): Promise<Description> =>
  site.json("show", await keyOf(site, network));

const brief = ({ path }: Description): readonly unknown[] =>
  path.map((s: Station) => [s.place, s.by, s.link?.kind ?? null]);
const addresses = ({ path }: Description): readonly (readonly string[])[] =>
  path.map((s) => s.addresses.filter((a) => !a.linkLocal).map((a) => a.address));

describe("heddle show", () => {
  hostTest("follows a pair over its bridge to the uplink, with limits, ports and rules", async () => {
    await using site = await seeingSite(heddle);
    const netns = await site.attach("web", { ports: [TCP, UDP] });
    const shown = await show(site, "web");
    expect(shown).toMatchObject({
      network: "web",
      ifname: "eth0",
      netns: netns.path,
      state: "ok",
      findings: [],
    });
    expect(brief(shown)).toEqual([
      ["container", "start", "veth"],
      ["host", "pair", "veth"],
      ["host", "port", "bridge"],
      ["host", "route", "veth"],
    ]);
    expect(addresses(shown)).toEqual([["10.88.0.2/24"], [], ["10.88.0.1/24"], ["10.95.0.1/24"]]);
    const [inside, end, bridge, uplink] = shown.path;
    // As tuning has set it, and not as bridge made it.
    expect(inside?.link?.mac).toBe("0a:58:0a:58:00:99");
    expect(inside?.routes).toContainEqual({
      dst: "default",
      gateway: "10.88.0.1",
      src: null,
      metric: null,
      table: 254,
    });
    expect(end?.limits).toEqual([
      { direction: "to the container", bitsPerSecond: 8_000_000, burstBytes: 100_000, on: String(end?.name) },
      expect.objectContaining({
        direction: "from the container",
        bitsPerSecond: 4_000_000,
        burstBytes: 50_000,
      }) as never,
    ]);
    expect([bridge?.ports, uplink?.name]).toEqual([1, "up0"]);
    expect(shown.dns).toEqual({ nameservers: ["10.95.0.2"], search: ["example.org"] });
    expect(shown.forwarding).toEqual({ ipv4: true });
    expect(shown.ports.map((p) => [p.hostIP, p.hostPort, p.live])).toEqual([
      [null, 8080, true],
      ["127.0.0.1", 53, true],
    ]);
    expect(shown.rules.map((r) => `${r.plugin}: ${r.text}`).toSorted()).toEqual([
      "bridge: 10.88.0.2 : goto masq_10.88.0.0/24",
      "portmap: 10.88.0.2 . tcp . 80 : goto hairpin_10.88.0.0/24",
      "portmap: 10.88.0.2 . udp . 5353 : goto hairpin_10.88.0.0/24",
      "portmap: 127.0.0.1 . udp . 53 : 10.88.0.2 . 5353",
      "portmap: tcp . 8080 : 10.88.0.2 . 80",
    ]);
    for (const rule of shown.rules) expect(rule.via.length).toBeGreaterThan(0);
    await hostSays(site, shown);
    const key = shown.key.slice(0, 6);
    const drawing = (await site.heddle("show", key)).stdout;
    expect(drawing).toContain("default via 10.88.0.1");
    expect(drawing).toContain("host port 127.0.0.1:53->5353/udp\n");
    expect(drawing).not.toContain("\u001b");
  });

  /** Every rule that is shown stands in nft's own list, and so does every step of its ways. */
  async function hostSays(site: Site, { rules }: Description): Promise<void> {
    const { stdout } = await site.host.exec(["nft", "list", "ruleset"]);
    const listed = stdout.replaceAll(/ comment "[^"]*"/g, "").replaceAll(/^\s+/gm, "");
    for (const { text, leadsTo, via } of rules) {
      expect(listed).toContain(text);
      for (const rule of leadsTo) expect(listed).toContain(`\n${rule}\n`);
      for (const step of via.flatMap((way) => way.split("; ").slice(1)))
        expect(listed).toContain(`\n${step}\n`);
    }
  }

  hostTest("shows a routed pair with the host's route, and a macvlan with the link below", async () => {
    await using site = await seeingSite(heddle);
    await site.attach("point");
    await site.attach("lanes");
    const point = await show(site, "point");
    expect(brief(point)).toEqual([
      ["container", "start", "veth"],
      ["host", "pair", "veth"],
      ["host", "route", "veth"],
    ]);
    expect(point.path[1]?.routes.map((r) => r.dst)).toContain("10.87.0.2/32");
    const lanes = await show(site, "lanes");
    expect(brief(lanes)).toEqual([
      ["container", "start", "macvlan"],
      ["host", "below", "veth"],
    ]);
    expect([lanes.path[0]?.link?.parameters["mode"], lanes.path[1]?.name]).toEqual(["bridge", "up0"]);
    expect([lanes.rules, lanes.forwarding]).toEqual([[], {}]);
  });

  hostTest("shows both families", async () => {
    await using site = await seeingSite(heddle);
    await site.host.exec(["ip", "address", "add", "fd95::1/64", "dev", "up0", "nodad"]);
    await site.host.exec(["ip", "-6", "route", "add", "default", "via", "fd95::2"]);
    await site.attach("plain", { ports: [TCP] });
    const shown = await show(site, "plain");
    expect([shown.state, shown.findings]).toEqual(["ok", []]);
    expect(addresses(shown)).toEqual([
      ["10.90.0.2/16", "fd90::2/64"],
      [],
      ["10.90.0.1/16", "fd90::1/64"],
      ["10.95.0.1/24", "fd95::1/64"],
    ]);
    expect(shown.forwarding).toEqual({ ipv4: true, ipv6: true });
    expect(shown.ports).toMatchObject([{ hostPort: 8080, live: true }]);
    expect(shown.rules.map((r) => r.text)).toContain("tcp . 8080 : fd90::2 . 80");
    await hostSays(site, shown);
  });

  hostTest("shows a list that is packed into one plugin as the plugins in it", async () => {
    await using site = await seeingSite(heddle);
    await site.attach("packed", { ports: [TCP] });
    const shown = await show(site, "packed");
    expect([shown.state, shown.plugins]).toEqual(["ok", ["bridge", "portmap"]]);
    expect(new Set(shown.rules.map((r) => r.plugin))).toEqual(new Set(["bridge", "portmap"]));
  });

  hostTest("shows rules of iptables with the chains that lead to them", async () => {
    await using site = await seeingSite(heddle);
    await site.attach("tables", { ports: [TCP] });
    const shown = await show(site, "tables");
    expect(shown.ports).toMatchObject([{ hostPort: 8080, live: true }]);
    const { stdout } = await site.host.exec(["iptables-save"]);
    const places = shown.rules.map(
      (r) => `${r.plugin} ${r.where.replace(/(CNI-(?:DN-)?)[0-9a-f]+$/, "$1…")}`,
    );
    expect([...new Set(places)].toSorted()).toEqual([
      "bridge ip nat CNI-…",
      "bridge ip nat POSTROUTING",
      "firewall ip filter CNI-FORWARD",
      "portmap ip nat CNI-DN-…",
      "portmap ip nat CNI-HOSTPORT-DNAT",
    ]);
    for (const { where, text } of shown.rules)
      expect(stdout).toContain(`-A ${String(where.split(" ").at(-1))} ${text}\n`);
    const translation = shown.rules.find((r) => r.text.endsWith("--to-destination 10.89.0.2:80"));
    expect(translation?.via.map((way) => way.split(", ").slice(0, 2))).toEqual([
      ["PREROUTING", "CNI-HOSTPORT-DNAT"],
      ["OUTPUT", "CNI-HOSTPORT-DNAT"],
    ]);
  });

  hostTest("shows what the kernel has and not what the record says, and names each difference", async () => {
    await using site = await seeingSite(heddle);
    const netns = await site.attach("web", { ports: [TCP] });
    await site.host.exec(["nft", "flush", "ruleset"]);
    await netns.exec(["ip", "address", "add", "10.88.0.77/32", "dev", "eth0"]);
    await netns.exec(["ip", "address", "del", "10.88.0.2/24", "dev", "eth0"]);
    await site.host.exec(["sysctl", "-qw", "net.ipv4.ip_forward=0"]);
    const shown = await show(site, "web");
    expect([shown.state, shown.rules, shown.forwarding]).toEqual(["broken", [], { ipv4: false }]);
    expect(shown.path[0]?.addresses.map((a) => a.address)).toContain("10.88.0.77/32");
    expect(shown.ports).toMatchObject([{ hostPort: 8080, live: false }]);
    const differences = shown.findings.map((f) => `${f.component}: ${f.what}`);
    expect(differences).toContain("bridge: addresses of eth0");
    expect(differences).toContain("bridge: sysctl net/ipv4/ip_forward");
    expect(differences.some((d) => d.startsWith("portmap: nftables chain inet heddle "))).toBe(true);
    const drawing = (await site.heddle("show", shown.key)).stdout;
    expect(drawing).toContain("host port 8080->80/tcp IS NOT MAPPED");
    expect(drawing).toContain("IPv4 forwarding is OFF");
    expect(drawing).toMatch(/^! bridge: addresses of eth0: want 10\.88\.0\.2\/24, found 10\.88\.0\.77\/32/m);
  });

  hostTest("says that no packet comes to a rule whose chain was flushed", async () => {
    await using site = await seeingSite(heddle);
    await site.attach("point");
    await site.host.exec(["nft", "flush", "chain", "inet", "heddle", "postrouting"]);
    const shown = await show(site, "point");
    expect(shown.rules.map((r) => [r.text, r.via])).toEqual([["10.87.0.2 : goto masq_10.87.0.0/24", []]]);
    expect((await site.heddle("show", shown.key)).stdout).toContain("! no packet comes to it");
  });

  hostTest("of a dead container shows what is left on the host", async () => {
    await using site = await seeingSite(heddle);
    {
      await using netns = await testNetns();
      await site.attach("web", { to: netns, ports: [TCP] });
    }
    const shown = await show(site, "web");
    expect([shown.state, shown.path.filter((s) => s.place === "container")]).toEqual(["dead", []]);
    expect(shown.rules.map((r) => r.text)).toContain("tcp . 8080 : 10.88.0.2 . 80");
    expect((await site.heddle("show", shown.key)).stdout).toContain("is gone");
  });

  hostTest("finds an attachment without its record by the cache and the marks", async () => {
    await using site = await seeingSite(heddle);
    await site.attach("point");
    const before = await show(site, "point");
    rmSync(join(site.host.dir, "run", "attachments"), { recursive: true });
    const after = await show(site, "point");
    expect(after.state).toBe("no record");
    expect(after.path).toEqual(before.path);
    expect(after.rules).toEqual(before.rules);
  });

  hostTest("refuses a key that means nothing or several, with what there is", async () => {
    await using site = await seeingSite(heddle);
    const nothing = await site.heddle("show", "abc");
    expect(nothing.code).toBe(2);
    expect(nothing.stderr).toContain(
      `no attachment's key or container begins with "abc"; heddle ps lists what there is`,
    );
    await site.attach("point");
    await site.attach("point");
    const several = await site.heddle("show", "cnitool-");
    expect([several.code, several.stdout]).toEqual([2, ""]);
    expect(several.stderr).toContain('"cnitool-" means 2 attachments: ');
  });
});
