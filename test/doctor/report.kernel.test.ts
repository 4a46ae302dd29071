/** The doctor's report as a whole: on a host that is in order, for people, for programs, and without root. */
import { describe, expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { catalogue } from "../../src/cli/doctor/catalogue.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { type DoctorHost, doctorHost, myList, type Report, said } from "./host.ts";

const heddle = heddleOfFile();
const hostTest = testWith({ root: true, programs: ["ip", "nft", "nsenter", "setpriv", "unshare"] });
const ids = Object.keys(catalogue);

describe("heddle doctor", () => {
  hostTest("finds nothing on a host that is in order, and leaves it as it is", async () => {
    await using on = await doctorHost(heddle, myList({ macspoofchk: true }, [{ type: "firewall" }]));
    const before = await on.host.snapshot();
    const report = await on.doctor();
    expect(report.findings.filter((f) => f.severity !== "ok")).toEqual([]);
    expect(report.findings.map((f) => f.id)).toEqual(ids);
    expect(report.code).toBe(0);
    expect(await on.host.snapshot()).toEqual(before);
    const { stdout, stderr, code } = await on.heddle("doctor");
    expect([stdout, stderr, code]).toEqual([
      `0 problems, 0 warnings, 0 notes, ${ids.length} ok; docs/doctor.md explains each\n`,
      "",
      0,
    ]);
  });

  hostTest("lists with --all what is in order", async () => {
    await using on = await doctorHost(heddle);
    const { stdout } = await on.heddle("doctor", "--all");
    for (const [id, { fine }] of Object.entries(catalogue))
      expect(stdout).toContain(`ok       ${id}: ${fine}\n`);
  });

  hostTest("says what was seen, why it matters, and what to do, the worst first", async () => {
    await using on = await doctorHost(heddle);
    await on.exec("ip", "link", "set", "up0", "mtu", "1400");
    await on.exec("sysctl", "-qw", "net.ipv4.ip_forward=0");
    on.put("/etc/cni/net.d/notes.txt", "");
    const { stdout, code } = await on.heddle("doctor");
    expect(code).toBe(1);
    expect(stdout.replaceAll(/cnitool-\w+/g, "CONTAINER")).toBe(`\
problem  forwarding: net.ipv4.ip_forward is 0, and container CONTAINER (network mynet) needs it
         The host passes no packet between its containers and other networks.
         > sysctl -w net.ipv4.ip_forward=1
warning  mtu-uplink: bridge mynet0 has an MTU of 1500, and the uplink up0 one of 1400
         Large packets are cut or dropped on the way out: small requests work, large answers hang.
         > set "mtu": 1400 in the network's bridge entry, and attach its containers again
note     config-ignored: no runtime reads notes.txt in /etc/cni/net.d
         Runtimes read .conflist, .conf and .json, and pass over every other name without a word.
         > rename what is meant to be read: NAME.conflist
1 problem, 1 warning, 1 note, ${ids.length - 3} ok; docs/doctor.md explains each
`);
  });

  hostTest("prints for programs the form that the manual promises", async () => {
    await using on = await doctorHost(heddle);
    on.put("/etc/cni/net.d/notes.txt", "");
    const { stdout } = await on.heddle("doctor", "--json");
    const json = JSON.parse(stdout) as Record<string, unknown> & Report;
    expect(Object.keys(json)).toEqual(["version", "findings", "summary", "fixes"]);
    expect(json["version"]).toBe(1);
    expect(json.findings.find((f) => f.severity === "note")).toEqual({
      id: "config-ignored",
      group: "configuration",
      severity: "note",
      subject: "/etc/cni/net.d",
      seen: "no runtime reads notes.txt in /etc/cni/net.d",
      why: catalogue["config-ignored"].why,
      cure: ["rename what is meant to be read: NAME.conflist"],
      unknown: false,
    } as (typeof json.findings)[number]);
    expect(json.summary).toEqual({ problem: 0, warning: 0, note: 1, ok: ids.length - 1, unknown: 0 });
    expect(json.fixes).toEqual([]);
  });

  hostTest("refuses --dry-run without --fix", async () => {
    await using on = await doctorHost(heddle);
    const { code, stderr } = await on.heddle("doctor", "--dry-run");
    expect(code).toBe(2);
    expect(stderr).toContain("--dry-run goes with --fix");
  });
});

/** Runs it as a user who may nothing; the executable stands where that user can reach it. */
async function asNobody(on: DoctorHost): Promise<Report> {
  on.put("/etc/heddle", "", { mode: 0o755 });
  await on.exec("mount", "--bind", heddle.path, "/etc/heddle");
  const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  const env = { CNI_PATH: "/etc/plugins", HEDDLE_RUN_DIR: `${on.host.dir}/run` };
  const { code, stdout, stderr } = await on.host.exec([...nobody, "/etc/heddle", "doctor", "--json"], {
    env,
    mustSucceed: false,
  });
  if (stdout === "") throw new Error(stderr);
  return { ...(JSON.parse(stdout) as Omit<Report, "code">), code };
}

describe("without root, heddle doctor", () => {
  /** What only root can see of such a host. */
  const hidden: readonly string[] = [
    "kernel-feature",
    "forwarding",
    "forwarding-file",
    "forward-drop",
    "iptables-mixed",
    "rules-lost",
    "loopback-exposed",
    "network-system",
    "priority-taken",
    "protocol-taken",
    "table-foreign",
    "attachment-dead",
    "record-unreadable",
    "reservation-orphan",
    "link-orphan",
    "rule-orphan",
    "cache-dead",
    "state-permissions",
    "clock-behind",
  ];

  hostTest("says of what it cannot see that it cannot tell, and why", async () => {
    await using on = await doctorHost(heddle);
    const report = await asNobody(on);
    for (const id of hidden)
      expect([id, said(report, id)]).toEqual([
        id,
        expect.arrayContaining([
          expect.stringMatching(/^unknown .*: cannot tell because .*(?:EPERM|EACCES)/),
        ]),
      ]);
    // What it does say of the rest, it could see: the plugins are not where it was told to look.
    expect(said(report, "plugin-missing")).toHaveLength(3);
    expect(said(report, "mtu-uplink")).toEqual([]);
    expect(report.summary["unknown"]).toBeGreaterThanOrEqual(hidden.length);
  });

  hostTest(
    "does not say in a user namespace that what the machine's root has is somebody else's",
    async () => {
      await using on = await doctorHost(heddle);
      const argv = ["unshare", "--user", heddle.at("heddle"), "doctor", "--json"];
      const env = { CNI_PATH: "/etc/plugins", HEDDLE_RUN_DIR: "/run/heddle" };
      const { stdout } = await on.host.exec(argv, { env, mustSucceed: false });
      const report = { ...(JSON.parse(stdout) as Report), code: 0 };
      for (const id of ["config-permissions", "plugin-permissions"])
        expect([id, said(report, id)]).toEqual([
          id,
          [expect.stringMatching(/^unknown : cannot tell because this user namespace/)],
        ]);
    },
  );

  hostTest("does not take a file that it may not read for a wrong one, nor the rest for all", async () => {
    await using on = await doctorHost(heddle);
    on.put("/etc/cni/net.d/05-secret.conflist", JSON.stringify(myList()), { mode: 0o600 });
    const report = await asNobody(on);
    expect(report.findings.filter((f) => f.severity === "problem")).toEqual([]);
    expect(said(report, "config-invalid")).toEqual([
      expect.stringMatching(/^unknown \/etc\/cni\/net\.d\/05-secret\.conflist: cannot tell because .*EACCES/),
    ]);
    for (const id of ["subnet-taken", "plugin-missing", "addresses-free", "network-first"])
      expect([id, said(report, id)]).toEqual([id, [expect.stringMatching(/^unknown .*EACCES/)]]);
  });

  hostTest("goes on where one file of several cannot be looked at", async () => {
    await using on = await doctorHost(heddle);
    // Further plugins of the list would stand there.
    on.put("/etc/cni/net.d/mynet/99-more.conf", "{}");
    await on.exec("chmod", "700", "/etc/cni/net.d/mynet");
    const report = await asNobody(on);
    expect(said(report, "config-invalid")).toEqual([
      expect.stringMatching(/^unknown \/etc\/cni\/net\.d\/10-mynet\.conflist: cannot tell because .*EACCES/),
    ]);
  });

  hostTest("takes nothing that it cannot see for a problem, nor for nothing", async () => {
    await using on = await doctorHost(heddle);
    await on.exec("nft", "flush", "ruleset");
    writeFileSync(on.path("/etc/cni/net.d/10-mynet.conflist"), "{}", { mode: 0o600 });
    await on.exec("chmod", "700", "/etc/cni/net.d");
    const report = await asNobody(on);
    expect(report.findings.filter((f) => f.severity === "problem")).toEqual([]);
    for (const id of [
      "config-invalid",
      "config-none",
      "network-first",
      "subnet-taken",
      "addresses-free",
      "dhcp-daemon",
      "name-taken",
    ])
      expect([id, said(report, id)]).toEqual([id, [expect.stringMatching(/^unknown .*EACCES/)]]);
  });
});
