/** `heddle ps` on a host of its own: what it lists, and that its health is what the kernel has. */
import { describe, expect } from "bun:test";
import { readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Entry } from "../../src/cli/ps/entry.ts";
import type { Description } from "../../src/cli/show/description.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { run } from "../../src/testing/run.ts";
import { lockFile } from "../../src/sys/flock.ts";
import { testNetns } from "../../src/testing/netns.ts";
import { seeingSite, type Site } from "./site.ts";

const heddle = heddleOfFile();
const hostTest = testWith({
  root: true,
  programs: ["ip", "nft", "iptables", "tc", "nsenter", "unshare", "script"],
});

const ps = (site: Site, ...more: readonly string[]): Promise<readonly Entry[]> => site.json("ps", ...more);
const PORT = { hostPort: 8080, containerPort: 80, protocol: "tcp" };

/** The one attachment of the host. */
async function only(site: Site): Promise<Entry> {
  const [entry, ...more] = await ps(site);
  if (entry === undefined || more.length > 0) throw new Error(`${more.length} attachments too many`);
  return entry;
}

describe("heddle ps", () => {
  hostTest("says that there is nothing, and lists what there is by network", async () => {
    await using site = await seeingSite(heddle);
    expect((await site.heddle("ps")).stdout).toBe("Nothing is attached.\n");
    expect(await ps(site)).toEqual([]);
    const web = await site.attach("web", {
      ports: [PORT, { ...PORT, hostPort: 53, protocol: "udp", hostIP: "127.0.0.1" }],
    });
    await site.attach("point");
    await site.attach("lanes");
    const listed = await ps(site);
    expect(listed.map((e) => [e.network, e.state, e.findings])).toEqual([
      ["lanes", "ok", []],
      ["point", "ok", []],
      ["web", "ok", []],
    ]);
    expect(listed[2]).toMatchObject({
      ifname: "eth0",
      netns: web.path,
      plugins: ["bridge", "portmap", "bandwidth", "tuning"],
      addresses: ["10.88.0.2/24"],
      ports: [
        { protocol: "tcp", hostIP: null, hostPort: 8080, containerPort: 80 },
        { protocol: "udp", hostIP: "127.0.0.1", hostPort: 53, containerPort: 80 },
      ],
    });
    expect(Date.now() - Date.parse(String(listed[2]?.since))).toBeLessThan(60_000);
    const lines = (await site.heddle("ps")).stdout.trimEnd().split("\n");
    expect(lines).toHaveLength(4);
    expect(lines[0]).toMatch(/^KEY +NETWORK +CONTAINER +INTERFACE +ADDRESSES +PORTS +AGE +STATE$/);
    expect(lines[3]).toMatch(/ 10\.88\.0\.2\/24 +8080->80\/tcp, 127\.0\.0\.1:53->80\/udp +\d+s +ok$/);
    // No colours where no terminal is.
    expect(lines.join("")).not.toContain("\u001b");
    expect((await ps(site, "--network", "point")).map((e) => e.network)).toEqual(["point"]);
    const id = String(listed[0]?.containerId);
    expect((await ps(site, "--container", id.slice(0, 16))).map((e) => e.network)).toEqual(["lanes"]);
    expect(await ps(site, "--container", "nobody")).toEqual([]);
  });

  const breaks: readonly (readonly [string, string, readonly string[], object])[] = [
    [
      "the rule set was flushed",
      "web",
      ["nft", "flush", "ruleset"],
      { component: "bridge", what: "nftables chain inet heddle postrouting", found: "nothing" },
    ],
    [
      "one port's element was deleted",
      "web",
      ["nft", "delete", "element", "inet", "heddle", "ports4", "{ tcp . 8080 }"],
      {
        component: "portmap",
        what: expect.stringContaining("host port 0.0.0.0:8080/tcp") as unknown,
        found: "nothing",
      },
    ],
    [
      "rules of iptables were flushed",
      "tables",
      ["iptables", "-t", "nat", "-F", "CNI-HOSTPORT-DNAT"],
      { component: "portmap", what: "iptables nat CNI-HOSTPORT-DNAT", found: "nothing" },
    ],
    [
      "the bridge lost its address",
      "web",
      ["ip", "address", "flush", "dev", "web0"],
      { component: "bridge", what: "addresses of web0", wanted: "10.88.0.1/24" },
    ],
  ];
  for (const [what, network, argv, finding] of breaks)
    hostTest(`says that it is broken after ${what}`, async () => {
      await using site = await seeingSite(heddle);
      await site.attach(network, { ports: [PORT] });
      expect((await only(site)).state).toBe("ok");
      await site.host.exec(argv);
      const broken = await only(site);
      expect([broken.state, broken.findings]).toEqual([
        "broken",
        [expect.objectContaining(finding) as never],
      ]);
      expect((await site.heddle("ps")).stdout).toContain(`broken: ${broken.findings[0]?.component ?? ""}: `);
    });

  hostTest("says that it is broken after the limit was taken away", async () => {
    await using site = await seeingSite(heddle);
    await site.attach("web");
    const { stdout } = await site.host.exec(["ip", "-j", "link", "show", "type", "veth"]);
    const links = JSON.parse(stdout) as { readonly ifname: string }[];
    const name = links.find((l) => l.ifname.startsWith("veth"))?.ifname ?? "";
    await site.host.exec(["tc", "qdisc", "del", "dev", name, "root"]);
    expect((await only(site)).findings).toMatchObject([
      { component: "bandwidth", what: `qdisc at the root of ${name}`, wanted: "tbf" },
    ]);
  });

  hostTest(
    "says that it is broken after an address or the interface was deleted in the container",
    async () => {
      await using site = await seeingSite(heddle);
      const point = await site.attach("point");
      await point.exec(["ip", "address", "flush", "dev", "eth0"]);
      expect((await only(site)).findings).toEqual([
        { component: "ptp", what: "addresses of eth0", wanted: "10.87.0.2/24", found: "none" },
      ]);
      await point.exec(["ip", "link", "delete", "eth0"]);
      const [finding] = (await only(site)).findings;
      expect(finding).toMatchObject({ component: "ptp", what: "interface eth0", found: "none" });
    },
  );

  hostTest("tells a namespace that is gone from one that took its place", async () => {
    await using site = await seeingSite(heddle);
    let path: string;
    {
      await using netns = await testNetns();
      path = netns.path;
      await site.attach("lanes", { to: netns });
    }
    const gone = await only(site);
    expect([gone.state, gone.why]).toEqual(["dead", `its namespace ${path} is gone`]);
    const name = path.split("/").at(-1) ?? "";
    await run(["ip", "netns", "add", name]);
    try {
      expect((await only(site)).why).toBe(`${path} is another namespace by now`);
    } finally {
      await run(["ip", "netns", "delete", name]);
    }
  });

  hostTest("takes an ADD that was killed for dead", async () => {
    await using site = await seeingSite(heddle);
    await site.attach("point");
    const records = join(site.host.dir, "run", "attachments");
    const [mark = ""] = readdirSync(records);
    renameSync(join(records, mark), join(records, `${mark}.pending`));
    const killed = await only(site);
    expect([killed.state, killed.why]).toEqual(["dead", "its ADD was ended before it was done"]);
  });

  hostTest("shows what is left where the record is lost, by the cache and by the kernel", async () => {
    await using site = await seeingSite(heddle);
    await site.attach("web", { ports: [PORT] });
    const before = await only(site);
    rmSync(join(site.host.dir, "run", "attachments"), { recursive: true });
    const cached = await only(site);
    expect(cached).toMatchObject({
      key: before.key,
      state: "no record",
      addresses: before.addresses,
      ports: before.ports,
    });
    expect(cached.why).toMatch(/record is lost.*link veth[0-9a-f]{8}.*nftables inet ports4 6 \. 8080/);
    await site.host.exec(["rm", "-rf", "/var/lib/cni/results"]);
    const lost = await ps(site);
    expect(lost.map((e) => [e.state, e.plugins, e.network]).toSorted()).toEqual([
      ["no record", ["bandwidth"], null],
      ["no record", ["bridge"], null],
      ["no record", ["portmap"], null],
    ]);
    expect(await ps(site, "--network", "web")).toEqual([]);
    const bridge = lost.find((e) => e.plugins.includes("bridge"));
    const shown = await site.json<Description>("show", bridge?.key ?? "");
    expect([shown.containerId, shown.path.map((s) => s.link?.kind)]).toEqual([
      null,
      ["veth", "bridge", "veth"],
    ]);
    expect(shown.rules.map((r) => r.text)).toEqual(["10.88.0.2 : goto masq_10.88.0.0/24"]);
  });

  hostTest("does not take what a call is at work on for broken", async () => {
    await using site = await seeingSite(heddle);
    await site.attach("point");
    const records = join(site.host.dir, "run", "attachments");
    const [mark = ""] = readdirSync(records);
    await site.host.exec(["nft", "flush", "ruleset"]);
    {
      using _working = lockFile(join(records, `${mark}.pending`), "exclusive");
      expect((await only(site)).state).toBe("busy");
    }
    expect((await only(site)).state).toBe("broken");
  });

  hostTest("fits the lines into a terminal, with colours unless NO_COLOR says otherwise", async () => {
    await using site = await seeingSite(heddle);
    await site.attach("web", {
      ports: Array.from({ length: 9 }, (_, i) => ({ ...PORT, hostPort: 8080 + i })),
    });
    await site.host.exec(["nft", "flush", "ruleset"]);
    const shown = async (env: string): Promise<string> => {
      const line = `stty cols 90; env ${env} HEDDLE_RUN_DIR=${join(site.host.dir, "run")} ${heddle.path} ps`;
      const { stdout } = await site.host.exec(["script", "-qec", line, "/dev/null"]);
      return stdout.replaceAll("\r", "");
    };
    const coloured = await shown("TERM=xterm");
    expect(coloured).toContain("\u001b[31mbroken\u001b[0m: ");
    const plain = await shown("NO_COLOR=1");
    expect(plain).not.toContain("\u001b");
    const lines = plain.trimEnd().split("\n");
    expect(lines).toHaveLength(2);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(90);
    expect(lines[1]).toContain("…");
  });
});
