/** The demo as a person runs it: what it prints, how it ends, and that nothing is left when it is stopped. */
import { expect } from "bun:test";
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { testWith } from "../src/testing/needs.ts";
import { plainEnv, run } from "../src/testing/run.ts";
import { ensureBuilt } from "../scripts/build.ts";

const programs = ["ip", "nft", "iptables-save", "unshare", "mount"];
const demoTest = testWith({ root: true, programs });
const DEMO = `${import.meta.dir}/../scripts/demo.ts`;
const LIMIT_MS = 60_000;

/** A host that is made for the test, so that what `--on-this-host` means is nobody's machine. */
const onPrivateHost = (...argv: readonly string[]): readonly string[] => [
  ...["unshare", "--net", "--mount", "--", process.execPath, `${import.meta.dir}/private-host.ts`, ...argv],
];
const scratchDirs = (): readonly string[] =>
  readdirSync(tmpdir()).filter((n) => n.startsWith("heddle-demo-"));

demoTest(
  "the demo attaches, sends traffic three ways, checks, detaches and finds nothing left",
  async () => {
    await ensureBuilt();
    const { code, stdout, stderr } = await run([process.execPath, DEMO], {
      timeoutMs: LIMIT_MS,
      mustSucceed: false,
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).not.toContain("NOT OK");
    expect(stdout).not.toContain("\u001B[");
    expect(stdout.match(/hello from blue/g)).toHaveLength(4);
    expect(stdout).toContain("127.0.0.1:9090/tcp → 10.244.10.2:80");
    expect(stdout).toContain("table inet heddle {");
    expect(stdout).toContain("-j DNAT --to-destination 10.244.10.");
    expect(stdout).toContain('heddle: CNI version "0.3.0" has no CHECK');
    expect(stdout).toMatch(/heddle cni add mynet \/run\/netns\/blue +\d+\.\d ms/);
    expect(stdout).toContain("bridge mynet: 10.244.10.1/24");
    // The lab: six of it and what is outside.
    expect(stdout).toContain("36 of 36 reached");
    expect(stdout).toMatch(/heddle lab down +\d+\.\d ms/);
  },
  LIMIT_MS,
);

demoTest(
  "the demo on this host takes its shared objects away at the end",
  async () => {
    await ensureBuilt();
    const { code, stdout } = await run(onPrivateHost("left", process.execPath, DEMO, "--on-this-host"), {
      timeoutMs: LIMIT_MS,
      mustSucceed: false,
    });
    expect({ code, bad: stdout.includes("NOT OK") }).toEqual({ code: 0, bad: false });
    expect(stdout).toEndWith(
      'left: {"links":["lo"],"heddle tables":0,"CNI chains":0,"namespaces":[],"ip_forward":"0"}\n',
    );
  },
  LIMIT_MS,
);

demoTest(
  "the demo on this host refuses a machine where the subnet is in use",
  async () => {
    await ensureBuilt();
    const { code, stderr } = await run(
      onPrivateHost("subnet-in-use", process.execPath, DEMO, "--on-this-host"),
      {
        timeoutMs: LIMIT_MS,
        mustSucceed: false,
      },
    );
    expect(code).toBe(1);
    expect(stderr).toContain("the subnet 10.244.10.0/24 is in use");
  },
  LIMIT_MS,
);

demoTest(
  "the demo stopped in the middle takes everything away and says why it ended",
  async () => {
    await ensureBuilt();
    const before = scratchDirs();
    const child = Bun.spawn([process.execPath, DEMO], { env: plainEnv, stdout: "pipe", stderr: "pipe" });
    let seen = "";
    for await (const chunk of child.stdout) {
      seen += new TextDecoder().decode(chunk);
      if (seen.includes("hello from blue") && !child.killed) child.kill("SIGINT");
    }
    expect(await child.exited).toBe(1);
    expect(await child.stderr.text()).toContain("stopped by SIGINT");
    expect(seen).not.toContain("Shared by all containers");
    expect(scratchDirs().filter((dir) => !before.includes(dir))).toEqual([]);
  },
  LIMIT_MS,
);

demoTest("the demo without root says how to get it", async () => {
  const probe = `process.seteuid(65534); process.argv.splice(1, Infinity, "demo"); await import(${JSON.stringify(DEMO)})`;
  const { code, stderr } = await run([process.execPath, "-e", probe], { mustSucceed: false });
  expect({ code, stderr }).toEqual({
    code: 1,
    stderr:
      "demo: the demo needs root, since only root may make network namespaces; try: sudo npm run demo\n",
  });
});
