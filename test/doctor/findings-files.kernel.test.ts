/**
 * Findings about configurations, leftovers, limits and permissions: each on a host that has it and had it not, and what
 * --fix makes of it.
 */
import { describe, expect } from "bun:test";
import { chmodSync, existsSync, readdirSync, rmSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { catalogue, type FindingId } from "../../src/cli/doctor/catalogue.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { untilOnly } from "../../src/testing/dying.ts";
import { testWith } from "../../src/testing/needs.ts";
import { startProcess, testNetns } from "../../src/testing/netns.ts";
import { CRI, type DoctorHost, doctorHost, myList, NETWORK, PLUGINS, said, UPLINK } from "./host.ts";

const heddle = heddleOfFile();
const hostTest = testWith({ root: true, programs: ["ip", "nft", "nsenter", "sysctl", "unshare"] });

const CONF = "/etc/cni/net.d";
const RESERVATIONS = `/var/lib/cni/networks/${NETWORK}`;
const RESULTS = "/var/lib/cni/results";
const COUNT = "/proc/sys/net/netfilter/nf_conntrack_count";
const BUCKETS = "/proc/sys/net/netfilter/nf_conntrack_buckets";

const records = (on: DoctorHost): string => join(on.host.dir, "run", "attachments");
const dieOut = async (on: DoctorHost): Promise<void> => on.container[Symbol.asyncDispose]();
const loseRecords = (on: DoctorHost): void => rmSync(records(on), { recursive: true });

/** The kernel's own numbers are those of the machine: this host shows others in their place. */
async function playNumber(on: DoctorHost, path: string, change: (now: number) => number): Promise<void> {
  on.put("/etc/played", `${change(Number(await on.exec("cat", path)))}\n`);
  await on.exec("mount", "--bind", "/etc/played", path);
}
const conntrackMax = async (on: DoctorHost): Promise<number> =>
  Number(await on.exec("cat", "/proc/sys/net/netfilter/nf_conntrack_max"));

const oneAddress = myList({ ipam: { type: "host-local", subnet: "10.88.0.0/30" } });

interface Case {
  readonly id: FindingId;
  readonly when: string;
  readonly make: (on: DoctorHost) => void | Promise<unknown>;
  /** How it is reported: `severity subject: seen`. */
  readonly says: RegExp;
}

const cases: readonly Case[] = [
  {
    id: "config-none",
    when: "the directory of configurations is empty",
    make: (on) => rmSync(on.path(CONF), { recursive: true }),
    says: /^note \/etc\/cni\/net\.d: /,
  },
  {
    id: "config-invalid",
    when: "an option is misspelt",
    make: (on) =>
      on.network("50-x.conflist", {
        cniVersion: "1.1.0",
        name: "x",
        plugins: [{ type: "bridge", isGatway: true }],
      }),
    says: /^problem \/etc\/cni\/net\.d\/50-x\.conflist: .*:1:\d+: bridge has no option "isGatway"/,
  },
  {
    id: "config-invalid",
    when: "a version is missing",
    make: (on) => on.network("50-x.conflist", { name: "x", plugins: [{ type: "loopback" }] }),
    says: /^warning .*cniVersion: is missing/,
  },
  {
    id: "config-ignored",
    when: "a file has an ending that nobody reads",
    make: (on) => on.put(`${CONF}/20-other.conflist.bak`, "{}"),
    says: /^note \/etc\/cni\/net\.d: no runtime reads 20-other\.conflist\.bak/,
  },
  {
    id: "config-elsewhere",
    when: "containerd is set to read another directory",
    make: (on) =>
      on.put("/etc/containerd/config.toml", `version = 2\n${CRI}.cni]\n  conf_dir = "/etc/other"\n`),
    says: /^note containerd: containerd reads configurations in \/etc\/other, and \/etc\/cni\/net\.d was looked at$/,
  },
  {
    id: "network-twice",
    when: "a network stands in two files",
    make: (on) => on.network("05-again.conflist", myList()),
    says: /^warning mynet: network mynet stands in 05-again\.conflist, 10-mynet\.conflist; heddle cni and cnitool take 05-again\.conflist/,
  },
  {
    id: "network-first",
    when: "there are two files",
    make: (on) => on.network("20-lo.conf", { cniVersion: "1.0.0", name: "lo", type: "loopback" }),
    says: /^note 10-mynet\.conflist: of 2 files, containerd and CRI-O take 10-mynet\.conflist \(network mynet\)/,
  },
  {
    id: "network-first",
    when: "the first file cannot be read",
    make: (on) => on.put(`${CONF}/01-broken.conflist`, "{"),
    says: /^warning 01-broken\.conflist: 01-broken\.conflist comes first and cannot be read; runtimes take 10-mynet\.conflist/,
  },
  {
    id: "plugin-missing",
    when: "a list names a plugin that is nowhere",
    make: (on) =>
      on.network("50-x.conflist", { cniVersion: "1.1.0", name: "x", plugins: [{ type: "nowhere" }] }),
    says: /^problem nowhere: network x names the plugin nowhere, which is not in /,
  },
  {
    id: "plugin-missing",
    when: "the plugin for addresses is nowhere",
    make: (on) =>
      on.network("50-x.conflist", {
        cniVersion: "1.1.0",
        name: "x",
        plugins: [{ type: "ptp", ipam: { type: "no-ipam" } }],
      }),
    says: /^problem no-ipam: /,
  },
  {
    id: "plugin-not-executable",
    when: "the plugin's file has no right to be executed",
    make: (on) => {
      on.put(`${PLUGINS}/mine`, "#!/bin/true\n", { mode: 0o644 });
      on.network("50-x.conflist", { cniVersion: "1.1.0", name: "x", plugins: [{ type: "mine" }] });
    },
    says: /^problem mine: \/etc\/plugins\/mine, which network x names, cannot be executed/,
  },
  {
    id: "dhcp-daemon",
    when: "a network wants DHCP and there is no daemon",
    make: (on) =>
      on.network("50-x.conflist", {
        cniVersion: "1.1.0",
        name: "x",
        plugins: [{ type: "macvlan", master: "up0", ipam: { type: "dhcp" } }],
      }),
    says: /^problem x: network x gets addresses by DHCP, and there is no socket \/run\/cni\/dhcp\.sock/,
  },
  {
    id: "attachment-dead",
    when: "the namespace of a container is gone",
    make: dieOut,
    says: /^warning mynet: network mynet has records of 1 container that is gone: cnitool-\w+ \(eth0: its namespace .* is gone\)$/,
  },
  {
    id: "record-unreadable",
    when: "a record says nothing",
    make: (on) =>
      on.put(join(records(on), "heddle-bridge-0123456789ab-0123456789abcdef.pending"), "", {
        ageSeconds: 60,
      }),
    says: /^warning : 1 record cannot be read: .*heddle-bridge-0123456789ab-0123456789abcdef\.pending/,
  },
  {
    id: "reservation-orphan",
    when: "an address is reserved for a container that nobody knows",
    make: (on) => {
      on.put(`${RESERVATIONS}/10.88.0.77`, "stranger\r\neth0", { ageSeconds: 3600 });
      on.put(`${RESERVATIONS}/10.88.0.78`, "just-coming\r\neth0");
    },
    says: /^warning mynet: network mynet has 1 reserved address of no attachment .*: 10\.88\.0\.77 \(stranger\)$/,
  },
  {
    id: "link-orphan",
    when: "the records are lost",
    make: loseRecords,
    says: /^warning veth[0-9a-f]{8}: 1 link with a mark and without a record: veth[0-9a-f]{8} \(heddle-bridge-\S+\)$/,
  },
  {
    id: "rule-orphan",
    when: "the records are lost",
    make: loseRecords,
    says: /^warning : the nftables tables heddle hold rules of 2 attachments without a record/,
  },
  {
    id: "cache-dead",
    when: "the records and the namespace are gone, as after a reboot",
    make: async (on) => {
      loseRecords(on);
      await dieOut(on);
    },
    says: /^warning mynet: the cache of network mynet has 1 container without a namespace: cnitool-\w+ \(eth0: \/run\/netns\/\S+ is gone\)$/,
  },
  {
    id: "conntrack-full",
    when: "more than three quarters of the table are in use",
    make: async (on) => {
      const max = await conntrackMax(on);
      await playNumber(on, COUNT, () => Math.floor(max * 0.8));
    },
    says: /^warning nf_conntrack_max: \d+ of \d+ connections are tracked \((?:79|80) %\)/,
  },
  {
    id: "conntrack-full",
    when: "the table is full",
    make: async (on) => {
      const max = await conntrackMax(on);
      await playNumber(on, COUNT, () => max);
    },
    says: /^problem nf_conntrack_max: \d+ of \d+ connections are tracked \(100 %\)/,
  },
  {
    id: "conntrack-buckets",
    when: "the hash table is small for what it may come to hold",
    make: async (on) => {
      const max = await conntrackMax(on);
      await playNumber(on, BUCKETS, () => Math.floor(max / 100));
    },
    says: /^warning nf_conntrack_buckets: \d+ connections may be tracked in \d+ buckets, 10\d in one/,
  },
  {
    id: "addresses-free",
    when: "the only address of a network is taken",
    make: async (on) => {
      on.network("50-x.conflist", { ...oneAddress, name: "x" });
      on.put("/var/lib/cni/networks/x/10.88.0.2", "somebody\r\neth0");
    },
    says: /^problem 10\.88\.0\.1-10\.88\.0\.2: network x has 0 free addresses of 1 in /,
  },
  {
    id: "state-permissions",
    when: "others can write to the cached results",
    make: (on) => chmodSync(on.path(RESULTS), 0o777),
    says: /^problem \/var\/lib\/cni\/results: \/var\/lib\/cni\/results has mode 0777/,
  },
  {
    id: "config-permissions",
    when: "others can write to a configuration",
    make: (on) => chmodSync(on.path(`${CONF}/10-${NETWORK}.conflist`), 0o666),
    says: /^problem \/etc\/cni\/net\.d\/10-mynet\.conflist: .* has mode 0666/,
  },
  {
    id: "plugin-permissions",
    when: "others can write to a directory of plugins",
    make: (on) => chmodSync(on.path(PLUGINS), 0o775),
    says: /^problem \/etc\/plugins: \/etc\/plugins has mode 0775/,
  },
  {
    id: "plugin-permissions",
    when: "a plugin belongs to somebody else",
    make: async (on) => {
      on.put(`${PLUGINS}/mine`, "", { mode: 0o755 });
      await on.exec("chown", "65534", `${PLUGINS}/mine`);
    },
    says: /^problem \/etc\/plugins\/mine: \/etc\/plugins\/mine belongs to user 65534, mode 0755/,
  },
  {
    id: "clock-behind",
    when: "a file of ours is dated an hour from now",
    make: (on) => on.put(`${RESULTS}/later`, "", { mode: 0o600, ageSeconds: -3600 }),
    says: /^problem clock: it is .*, and \/var\/lib\/cni\/results\/later will be written in (?:3600|359\d) s/,
  },
];

describe("the doctor reports", () => {
  for (const { id, when, make, says } of cases)
    hostTest(`${id} when ${when}, and not before`, async () => {
      await using on = await doctorHost(heddle);
      expect(said(await on.doctor(), id)).toEqual([]);
      await make(on);
      const report = await on.doctor();
      expect(said(report, id)).toEqual([expect.stringMatching(says)]);
      const found = report.findings.find((f) => f.id === id);
      expect(catalogue[id].severities as readonly string[]).toContain(found?.severity ?? "none");
      expect(report.code).toBe(report.findings.some((f) => f.severity === "problem") ? 1 : 0);
    });

  hostTest("no link-orphan for what attachments share", async () => {
    await using on = await doctorHost(heddle);
    await on.exec("ip", "link", "property", "add", "dev", "wire0", "altname", "heddle-vlan-gateway-mynet0.5");
    expect(said(await on.doctor(), "link-orphan")).toEqual([]);
    const { stdout } = await on.heddle("ps", "--json");
    expect(stdout).not.toContain("vlan-gateway");
  });

  hostTest("rule-orphan of iptables, too", async () => {
    await using on = await doctorHost(heddle, myList({ ipMasqBackend: "iptables" }));
    expect(said(await on.doctor(), "rule-orphan")).toEqual([]);
    loseRecords(on);
    expect(said(await on.doctor(), "rule-orphan")).toEqual([
      expect.stringMatching(/^warning : the nftables tables heddle hold rules of 1 attachment/),
      expect.stringMatching(
        /^warning : chains of iptables hold rules of 1 attachment without a record: heddle-bridge-/,
      ),
    ]);
  });

  hostTest("that it cannot tell who listens at a socket that nobody of this namespace has", async () => {
    await using on = await doctorHost(heddle);
    const dhcp = { type: "dhcp", daemonSocketPath: "/run/mine.sock" };
    on.network("50-x.conflist", { cniVersion: "1.1.0", name: "x", plugins: [{ type: "ptp", ipam: dhcp }] });
    on.put("/run/mine.sock", "");
    expect(said(await on.doctor(), "dhcp-daemon")).toEqual([
      expect.stringMatching(/^unknown x: cannot tell because \/run\/mine\.sock is there/),
    ]);
  });

  hostTest("no missing DHCP daemon while one listens, and without calling it", async () => {
    await using on = await doctorHost(heddle);
    on.network("50-x.conflist", {
      cniVersion: "1.1.0",
      name: "x",
      plugins: [{ type: "macvlan", master: "up0", ipam: { type: "dhcp" } }],
    });
    const at = ["nsenter", `--target=${on.host.pid}`, "--net", "--mount", "--"];
    const socket = "/run/cni/dhcp.sock";
    await on.exec("mkdir", "-p", "/run/cni");
    await using daemon = startProcess([
      ...at,
      heddle.at("heddle"),
      "dhcp-daemon",
      "--socketpath",
      socket,
      "--pidfile",
      "/run/dhcp.pid",
    ]);
    const deadline = performance.now() + 10_000;
    while (!existsSync(on.path(socket))) {
      if (performance.now() > deadline) throw new Error(`no socket of ${daemon.pid}`);
      await Bun.sleep(5);
    }
    expect(said(await on.doctor(), "dhcp-daemon")).toEqual([]);
  });

  hostTest("few free addresses as a warning", async () => {
    await using on = await doctorHost(heddle);
    for (let n = 10; n < 250; n++) on.put(`${RESERVATIONS}/10.88.0.${n}`, "somebody\r\neth0");
    expect(said(await on.doctor(), "addresses-free")).toEqual([
      expect.stringMatching(
        /^warning 10\.88\.0\.1-10\.88\.0\.254: network mynet has 12 free addresses of 253 in /,
      ),
    ]);
  });
});

describe("heddle doctor --fix", () => {
  hostTest("detaches what is dead, with record or without, and frees its address", async () => {
    await using on = await doctorHost(heddle);
    await using other = await testNetns();
    await on.attach(NETWORK, other);
    await dieOut(on);
    const report = await on.doctor("--fix");
    expect(report.fixes).toEqual([
      expect.objectContaining({ ids: ["attachment-dead"], done: [expect.objectContaining({ ok: true })] }),
    ]);
    expect(said(report, "attachment-dead")).toEqual([]);
    expect(readdirSync(on.path(RESERVATIONS)).filter((n) => n.startsWith("10."))).toEqual(["10.88.0.3"]);
    loseRecords(on);
    await other[Symbol.asyncDispose]();
    const again = await on.doctor("--fix");
    expect(again.fixes.map((f) => f.ids)).toEqual([["cache-dead"]]);
    expect(said(again, "cache-dead")).toEqual([]);
    expect(readdirSync(on.path(RESULTS))).toEqual([]);
    expect(readdirSync(on.path(RESERVATIONS)).filter((n) => n.startsWith("10."))).toEqual([]);
    expect((await on.doctor("--fix")).fixes).toEqual([]);
  });

  hostTest("puts back flushed rules and forwarding", async () => {
    await using on = await doctorHost(heddle);
    const before = await on.host.snapshot();
    await on.exec("nft", "flush", "ruleset");
    await on.exec("sysctl", "-qw", "net.ipv4.ip_forward=0");
    const report = await on.doctor("--fix");
    expect(report.code).toBe(0);
    expect(report.fixes.map((f) => f.ids)).toEqual([["rules-lost", "forwarding", "loopback-exposed"]]);
    expect(await on.host.snapshot()).toEqual(before);
  });

  hostTest("takes away rights to write, removes empty records, and leaves what is not Heddle's", async () => {
    await using on = await doctorHost(heddle);
    const empty = join(records(on), "heddle-bridge-0123456789ab-0123456789abcdef.pending");
    on.put(empty, "", { ageSeconds: 60 });
    chmodSync(on.path(RESULTS), 0o777);
    chmodSync(on.path(CONF), 0o777);
    on.put("/etc/victim", "", { mode: 0o644 });
    chmodSync(on.path("/etc/victim"), 0o666);
    symlinkSync("/etc/victim", on.path(`${RESULTS}/link`));
    on.put(`${RESERVATIONS}/10.88.0.77`, "stranger\r\neth0", { ageSeconds: 3600 });
    const report = await on.doctor("--fix");
    expect(report.fixes.map((f) => f.ids)).toEqual([["state-permissions"], ["record-unreadable"]]);
    expect(existsSync(empty)).toBe(false);
    expect(statSync(on.path(RESULTS)).mode & 0o777).toBe(0o755);
    expect(statSync(on.path(CONF)).mode & 0o777).toBe(0o777);
    expect(existsSync(on.path(`${RESERVATIONS}/10.88.0.77`))).toBe(true);
    expect(statSync(on.path("/etc/victim")).mode & 0o777).toBe(0o666);
    expect(report.fixes.flatMap((f) => f.done).every((d) => d.ok)).toBe(true);
    expect(said(report, "config-permissions")).toHaveLength(1);
    expect(report.code).toBe(1);
  });

  hostTest("does nothing with --dry-run, and says what it would do", async () => {
    await using on = await doctorHost(heddle);
    await dieOut(on);
    await untilOnly(on.host, UPLINK);
    await on.exec("nft", "flush", "ruleset");
    chmodSync(on.path(RESULTS), 0o777);
    const before = await on.host.snapshot();
    const report = await on.doctor("--fix", "--dry-run");
    expect(report.fixes.map((f) => [f.ids, f.done])).toEqual([
      [["state-permissions"], []],
      [["attachment-dead"], []],
    ]);
    expect(await on.host.snapshot()).toEqual(before);
    expect(statSync(on.path(RESULTS)).mode & 0o777).toBe(0o777);
    const { stdout } = await on.heddle("doctor", "--fix", "--dry-run");
    expect(stdout).toContain("would    detach containers whose network namespace is gone (heddle gc)\n");
  });
});
