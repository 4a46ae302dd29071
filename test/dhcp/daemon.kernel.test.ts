/** The daemon as a process: how it is started and ended, what it refuses, and what plugins say without it. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { type DhcpLab, dhcpLab, startDaemon } from "../../src/testing/dhcp-lab.ts";
import { type Behaviour, startServer } from "../../src/testing/dhcp-server.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { lineLog } from "../../src/testing/line-log.ts";
import { testWith } from "../../src/testing/needs.ts";
import { plainEnv, run } from "../../src/testing/run.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";
import { listenUnix } from "../../src/sys/unix-listener.ts";

const heddle = heddleOfFile();

const labTest = testWith({ root: true, programs: ["ip", "setpriv"] });
const usual: Behaviour = { link: "lan", address: "10.9.0.1", first: "10.9.1.10", leaseSeconds: 3600 };
const asError = (json: unknown): { readonly code: number; readonly msg: string } =>
  json as { readonly code: number; readonly msg: string };

describe("without the daemon", () => {
  labTest("ADD and CHECK can be tried again, STATUS says why, DEL has nothing to do", async () => {
    await using lab = await dhcpLab();
    for (const [command, code] of [
      ["ADD", 11],
      ["CHECK", 11],
      ["GC", 11],
      ["STATUS", 50],
    ] as const) {
      const error = asError(
        (await lab.call(command, { conf: { prevResult: { cniVersion: "1.1.0" } } })).json,
      );
      expect([command, error.code]).toEqual([command, code]);
      expect(error.msg).toContain(`not running at ${lab.socketPath}`);
      expect(error.msg).toContain("heddle dhcp-daemon");
    }
    expect(await lab.call("DEL")).toMatchObject({ code: 0, stdout: "" });
  });

  labTest("DEL of an attachment that has a lease has to come again, and then gives it back", async () => {
    await using lab = await dhcpLab();
    await using server = await startServer(lab.server, usual);
    const first = await lab.daemon();
    expect((await lab.call("ADD")).code).toBe(0);
    await first.stop("SIGKILL");
    expect(asError((await lab.call("DEL")).json).code).toBe(11);
    await using _ = await lab.daemon();
    expect((await lab.call("DEL")).stdout).toBe("");
    await server.saw("release");
  });
});

describe("the daemon", () => {
  labTest("is started as the reference's is", async () => {
    await using lab = await dhcpLab();
    await using _ = await startServer(lab.server, usual);
    const pidfile = join(lab.dir, "pid");
    const argv = [join(lab.cniPath, "dhcp"), "daemon", "-pidfile", pidfile, `-socketpath=${lab.socketPath}`];
    await using daemon = await startDaemon([...argv, "-timeout", "5s", "-broadcast=true"], lab.env);
    expect(readFileSync(pidfile, "utf8")).toBe(`${daemon.pid}\n`);
    expect((await lab.call("STATUS")).code).toBe(0);
    expect((await lab.call("ADD")).code).toBe(0);
    expect(await daemon.stop("SIGINT")).toBe(0);
    expect(existsSync(pidfile)).toBe(false);
  });

  labTest("asks servers to answer to all when it is told to", async () => {
    await using lab = await dhcpLab();
    await using server = await startServer(lab.server, usual);
    await using _ = await lab.daemon("--broadcast");
    expect((await lab.call("ADD")).code).toBe(0);
    expect((await server.saw("discover")).broadcast).toBe(true);
  });

  labTest("finds sockets, namespaces and leases below a prefix", async () => {
    await using lab = await dhcpLab();
    await using _ = await startServer(lab.server, usual);
    const root = join(lab.dir, "root");
    mkdirSync(root);
    // The host's directories, seen from a container.
    for (const name of ["run", "tmp"]) symlinkSync(`/${name}`, join(root, name));
    await using _daemon = await lab.daemon("--hostprefix", root);
    expect((await lab.call("ADD")).json).toMatchObject({ ips: [{ address: "10.9.1.10/16" }] });
    expect((await lab.call("DEL")).code).toBe(0);
  });

  labTest("takes over a socket that systemd listens on, with the caller who waits there", async () => {
    await using lab = await dhcpLab();
    mkdirSync(join(lab.dir, "run"));
    using listener = listenUnix(lab.socketPath);
    const asking = lab.call("STATUS");
    const start = ["/bin/sh", "-c", 'export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"', "sh"];
    const argv = ["setpriv", "--pdeathsig", "KILL", join(lab.cniPath, "heddle"), "dhcp-daemon"];
    const child = Bun.spawn([...start, ...argv, "--socketpath", lab.socketPath], {
      env: { ...lab.env },
      stdio: ["ignore", "ignore", "pipe", listener.fd],
    });
    const log = lineLog(child.stderr);
    expect((await asking).code).toBe(0);
    for (let i = 0; i < 3; i++) expect((await lab.call("STATUS")).code).toBe(0);
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
    await log.line((l) => l.includes("leases are kept"));
    // The socket is systemd's: it stays, for the next one.
    expect(existsSync(lab.socketPath)).toBe(true);
  });

  labTest("is one: another says so, whichever of socket and leases it would share", async () => {
    await using lab = await dhcpLab();
    await using _ = await lab.daemon();
    const second = (env: Readonly<Record<string, string>>) =>
      run([join(lab.cniPath, "heddle"), "dhcp-daemon", "--socketpath", lab.socketPath], {
        env: { ...lab.env, ...env },
        mustSucceed: false,
      });
    expect((await second({})).stderr).toContain("another DHCP daemon already exists");
    expect((await second({ HEDDLE_STATE_DIR: join(lab.dir, "other") })).stderr).toContain(
      `a DHCP daemon already exists in ${lab.socketPath}`,
    );
    expect((await lab.call("STATUS")).code).toBe(0);
  });

  labTest("ends while an ADD waits, which is told so, and leaves no child", async () => {
    await using lab = await dhcpLab();
    await using server = await startServer(lab.server, { ...usual, acquire: "silent" });
    await using daemon = await lab.daemon();
    const adding = lab.call("ADD");
    await server.saw("discover");
    expect(await daemon.stop()).toBe(0);
    expect(asError((await adding).json).code).toBe(11);
    const { stdout } = await run(["ip", "netns", "pids", lab.container.name]);
    expect(stdout.trim()).toBe("");
  });

  labTest("ends the child of an ADD that was killed", async () => {
    await using lab = await dhcpLab();
    await using server = await startServer(lab.server, { ...usual, acquire: "silent" });
    await using _ = await lab.daemon();
    const plugin = Bun.spawn([join(lab.cniPath, "dhcp")], {
      env: {
        ...lab.env,
        CNI_COMMAND: "ADD",
        CNI_CONTAINERID: "c1",
        CNI_NETNS: lab.container.path,
        CNI_IFNAME: "eth0",
        CNI_PATH: lab.cniPath,
      },
      stdin: Buffer.from(
        JSON.stringify({
          cniVersion: "1.1.0",
          name: "lan",
          type: "macvlan",
          ipam: { type: "dhcp", daemonSocketPath: lab.socketPath },
        }),
      ),
      stdout: "ignore",
      stderr: "ignore",
    });
    await server.saw("discover");
    plugin.kill("SIGKILL");
    await plugin.exited;
    const left = async (): Promise<string> =>
      (await run(["ip", "netns", "pids", lab.container.name])).stdout.trim();
    for (const until = performance.now() + 5000; (await left()) !== "" && performance.now() < until;);
    expect(await left()).toBe("");
  });

  labTest("ends an ADD whose container went away", async () => {
    await using lab = await dhcpLab();
    await using server = await startServer(lab.server, { ...usual, acquire: "silent" });
    await using _ = await lab.daemon();
    const adding = lab.call("ADD");
    await server.saw("discover");
    await run(["ip", "netns", "delete", lab.container.name]);
    expect(asError((await adding).json)).toMatchObject({ code: 8 });
  });

  labTest("releases by GC what is not valid any more", async () => {
    await using lab = await dhcpLab();
    await using server = await startServer(lab.server, usual);
    await using daemon = await lab.daemon();
    for (const containerId of ["a", "b"])
      expect((await lab.call("ADD", { call: { containerId } })).code).toBe(0);
    const valid = [{ containerID: "a", ifname: "eth0" }];
    expect((await lab.call("GC", { conf: { "cni.dev/valid-attachments": valid } })).stdout).toBe("");
    await daemon.said("lan/b/eth0: 10.9.1.11/16 from 10.9.0.1: released");
    const released = await server.saw("release");
    expect(Buffer.from(released.clientId, "hex").toString()).toBe("\0b/lan/eth0");
    expect(daemon.log.lines().join("\n")).not.toContain("lan/a/eth0: 10.9.1.10/16 from 10.9.0.1: released");
  });
});

describe("ADD", () => {
  labTest("says what is wrong with the interface", async () => {
    await using lab = await dhcpLab();
    await using _ = await lab.daemon();
    const missing = await lab.call("ADD", { call: { ifname: "net9" } });
    expect(asError(missing.json)).toMatchObject({
      code: 7,
      msg: expect.stringContaining("there is no interface net9"),
    });
    const loopback = await lab.call("ADD", { call: { ifname: "lo" } });
    expect(asError(loopback.json)).toMatchObject({
      code: 2,
      msg: expect.stringContaining("not an Ethernet interface"),
    });
  });

  labTest("sets an interface up that is down", async (): Promise<void> => {
    await using lab = await dhcpLab();
    await using _ = await startServer(lab.server, usual);
    await using _daemon = await lab.daemon();
    await run(["ip", "-n", lab.container.name, "link", "set", "eth0", "down"]);
    expect((await lab.call("ADD")).code).toBe(0);
  });

  labTest("of one attachment twice is an error, and the lease stays", async () => {
    await using lab: DhcpLab = await dhcpLab();
    await using _ = await startServer(lab.server, usual);
    await using _daemon = await lab.daemon();
    const first = await lab.call("ADD");
    expect(asError((await lab.call("ADD")).json).code).toBe(108);
    expect((await lab.call("CHECK", { conf: { prevResult: first.json } })).code).toBe(0);
  });

  labTest("of the key of a dead container gets its lease anew", async () => {
    await using lab = await dhcpLab();
    await using _ = await startServer(lab.server, usual);
    await using _daemon = await lab.daemon();
    expect((await lab.call("ADD")).code).toBe(0);
    await run(["ip", "-n", lab.container.name, "link", "delete", "eth0"]);
    const veth = ["type", "veth", "peer", "name", "eth0", "netns", lab.container.name];
    await run(["ip", "link", "add", "lan2", "netns", lab.server.name, ...veth]);
    await run(["ip", "-n", lab.server.name, "link", "set", "lan2", "up"]);
    await using _other = await startServer(lab.server, { ...usual, link: "lan2", first: "10.9.2.20" });
    expect((await lab.call("ADD")).json).toMatchObject({ ips: [{ address: "10.9.2.20/16" }] });
  });
});

describe("the command line", () => {
  test.each([
    ["a relative socket", ["--socketpath", "x.sock"], "--socketpath must be an absolute path"],
    ["a relative prefix", ["--hostprefix", "x"], "--hostprefix must be an absolute path"],
    ["a relative pid file", ["-pidfile", "x"], "--pidfile must be an absolute path"],
    ["a time without a unit", ["--timeout", "10"], "is not a time"],
    ["a time of nothing", ["--resendmax", "0s"], "is not a time"],
    ["a time of words", ["-resendtimeout=soon"], "is not a time"],
    ["a time beyond a day", ["--timeout", "25h"], "is not a time"],
    ["an unknown option", ["--sockpath", "/x"], "unknown option"],
    ["a socket's path that is too long", ["--socketpath", `/${"x".repeat(107)}`], "1 to 107 bytes"],
  ])("refuses %s", async (_, args, why) => {
    using dir = tempDir("dhcp-cli");
    const outcome = await run([heddle.at("heddle"), "dhcp-daemon", ...args], {
      env: { ...plainEnv, HEDDLE_STATE_DIR: dir.in("state") },
      mustSucceed: false,
    });
    expect([outcome.code, outcome.stderr]).toEqual([2, expect.stringContaining(why)]);
  });
});
