/** The claims of docs/security.md that have no test elsewhere. */
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { cniHost } from "../src/testing/cni-host.ts";
import { heddleOfFile, runPlugin } from "../src/testing/executable.ts";
import { testWith } from "../src/testing/needs.ts";
import { testNetns } from "../src/testing/netns.ts";
import { plainEnv, run } from "../src/testing/run.ts";
import { type TempDir, tempDir } from "../src/testing/temp-dir.ts";

const rootTest = testWith({ root: true, programs: ["ip", "setpriv", "unshare", "nsenter"] });
const heddle = heddleOfFile();
const NOBODY = 65534;

/** A program of somebody else's that prints its environment as a plugin's result would be printed. */
function strangerIn(dir: TempDir): void {
  const script = `#!${process.execPath}\nprocess.stdout.write(JSON.stringify({ cniVersion: "1.0.0", dns: { search: Object.keys(process.env) } }));\n`;
  writeFileSync(dir.in("stranger"), script, { mode: 0o755 });
}
const listOf = (...plugins: readonly object[]): string =>
  JSON.stringify({ cniVersion: "1.0.0", name: "net", plugins });

describe("the environment", () => {
  test("of plugins has nothing that makes programs load code, and all the rest", async () => {
    using dir = tempDir("security");
    strangerIn(dir);
    writeFileSync(dir.in("net.conflist"), listOf({ type: "stranger" }));
    const hostile = {
      BUN_CONFIG_REGISTRY: "x",
      LD_LIBRARY_PATH: "/x",
      NODE_OPTIONS: "--x",
    };
    const { stdout } = await run(
      [heddle.at("heddle"), "cni", "add", "net", "/proc/1/ns/net", "--cache-dir", dir.in("cache")],
      { env: { ...plainEnv, ...hostile, CNI_PATH: dir.path, NETCONFPATH: dir.path, KEPT: "yes" } },
    );
    const names = (JSON.parse(stdout) as { readonly dns: { readonly search: readonly string[] } }).dns.search;
    expect(names.filter((name) => Object.hasOwn(hostile, name))).toEqual([]);
    expect(names).toContain("KEPT");
    expect(names).toContain("CNI_COMMAND");
  });

  test("of an administrator's shell does not turn a command into a plugin", async () => {
    using dir = tempDir("security");
    const env = { ...plainEnv, CNI_COMMAND: "VERSION", HEDDLE_RUN_DIR: dir.path };
    const { stdout } = await run([heddle.at("heddle"), "ps", "--cache-dir", dir.in("cache")], { env });
    expect(stdout).toBe("Nothing is attached.\n");
  });
});

describe("a relative directory of CNI_PATH", () => {
  test("is refused by a plugin with the code for the environment", async () => {
    using dir = tempDir("security");
    const conf = {
      cniVersion: "1.0.0",
      name: "net",
      type: "heddle-chain",
      plugins: [{ type: "stranger" }],
    };
    strangerIn(dir);
    const call = {
      command: "ADD",
      containerId: "c",
      netns: "/x",
      ifname: "eth0",
      cniPath: "plugins:.",
    } as const;
    const { json } = await runPlugin(heddle.at("heddle-chain"), call, conf, dir.path);
    expect(json).toMatchObject({
      code: 4,
      msg: expect.stringContaining('"plugins" is not an absolute path'),
    });
  });

  test("is taken by the command line for what it means where one stands, which is said", async () => {
    using dir = tempDir("security");
    strangerIn(dir);
    writeFileSync(dir.in("net.conflist"), listOf({ type: "stranger" }));
    const { stderr } = await run(
      [heddle.at("heddle"), "cni", "add", "net", "/proc/1/ns/net", "--cache-dir", dir.in("cache")],
      { cwd: dir.path, env: { ...plainEnv, CNI_PATH: ".", NETCONFPATH: dir.path } },
    );
    expect(stderr).toBe(`heddle: CNI_PATH: "." is not absolute, taken as ${dir.path}\n`);
  });
});

describe("what is written", () => {
  rootTest("can be read by nobody else", async () => {
    await using host = await cniHost(heddle);
    await using container = await testNetns();
    writeFileSync(
      `${host.dir}/net.conflist`,
      listOf(
        { type: "bridge", bridge: "br0", ipMasq: true, ipam: { type: "host-local", subnet: "192.0.2.0/24" } },
        { type: "portmap", capabilities: { portMappings: true } },
      ),
    );
    await host.exec([heddle.at("heddle"), "cni", "add", "net", container.path], {
      env: {
        ...plainEnv,
        CNI_PATH: heddle.cniPath,
        NETCONFPATH: host.dir,
        HEDDLE_RUN_DIR: `${host.dir}/run`,
        CAP_ARGS: '{"portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"tcp"}]}',
      },
    });
    const { stdout } = await host.exec([
      ...["find", `${host.dir}/run`, "/var/lib/cni", "-printf", "%y %m %p\n"],
    ]);
    const found = stdout
      .trim()
      .split("\n")
      .map((line) => line.split(" "));
    const wrong = found.filter(([type, mode, path = ""]) => {
      if (type !== "d") return mode !== "600";
      return mode !== (path.startsWith("/var/lib/cni/networks") || path === "/var/lib/cni" ? "755" : "700");
    });
    expect(wrong).toEqual([]);
    expect(found.length).toBeGreaterThan(8);
  });

  test("is not put into a cache that others can write to", async () => {
    using dir = tempDir("security");
    strangerIn(dir);
    writeFileSync(dir.in("net.conflist"), listOf({ type: "stranger" }));
    mkdirSync(dir.in("cache"));
    chmodSync(dir.in("cache"), 0o777);
    const { code, stderr } = await run(
      [heddle.at("heddle"), "cni", "add", "net", "/proc/1/ns/net", "--cache-dir", dir.in("cache")],
      { env: { ...plainEnv, CNI_PATH: dir.path, NETCONFPATH: dir.path }, mustSucceed: false },
    );
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringContaining("can be written to by others") as string,
    });
    expect(existsSync(dir.in("cache/results"))).toBe(false);
  });

  test("does not go through a link that somebody put at the name", async () => {
    using dir = tempDir("security");
    mkdirSync(dir.in("victim"));
    writeFileSync(dir.in("victim/file"), "mine");
    symlinkSync(dir.in("victim/file"), dir.in("dhcp.pid"));
    const { code } = await run(
      [
        ...[heddle.at("heddle"), "dhcp-daemon", "--pidfile", dir.in("dhcp.pid")],
        ...["--socketpath", dir.in("dhcp.sock")],
      ],
      { env: { ...plainEnv, HEDDLE_STATE_DIR: dir.in("state") }, mustSucceed: false, timeoutMs: 10_000 },
    );
    expect(code).toBe(1);
    expect(statSync(dir.in("victim/file")).size).toBe(4);
  });

  rootTest("does not go through a link that another user made in a directory of his own", async () => {
    using dir = tempDir("security");
    chmodSync(dir.path, 0o755);
    writeFileSync(dir.in("victim"), "mine");
    mkdirSync(dir.in("theirs"));
    await run(["chown", `${NOBODY}:${NOBODY}`, dir.in("theirs")]);
    const links = `cd ${dir.in("theirs")} && mkdir net && ln -s ${dir.in("victim")} net/last_reserved_ip.0`;
    await run(["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", "sh", "-c", links]);
    const ipam = { type: "host-local", dataDir: dir.in("theirs"), subnet: "192.0.2.0/24" };
    const conf = { cniVersion: "1.0.0", name: "net", type: "host-local", ipam };
    const call = { command: "ADD", containerId: "c", netns: "/nowhere", ifname: "eth0" } as const;
    const { json } = await runPlugin(heddle.at("host-local"), call, conf);
    expect(json).toMatchObject({
      code: 7,
      msg: `ipam.dataDir: ${dir.in("theirs/net")} belongs to user ${NOBODY}, who could lead root elsewhere by a link`,
    });
    expect(readFileSync(dir.in("victim"), "utf8")).toBe("mine");
  });
});

/** An executable that another user can reach: the temporary directory is the test's alone. */
async function asNobody(dir: TempDir, argv: readonly string[], env: Readonly<Record<string, string>>) {
  chmodSync(dir.path, 0o755);
  await run(["cp", "--reflink=auto", heddle.path, dir.in("heddle")]);
  for (const type of ["bridge", "host-local"])
    if (!existsSync(dir.in(type))) symlinkSync("heddle", dir.in(type));
  const user = ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", "--"];
  return run([...user, ...argv], { env: { ...plainEnv, ...env }, mustSucceed: false, cwd: "/" });
}

describe("without root", () => {
  rootTest("a refusal names the capabilities that are missing", async () => {
    using dir = tempDir("security");
    await using container = await testNetns();
    const conf = { cniVersion: "1.0.0", name: "net", type: "bridge", ipam: { type: "host-local" } };
    writeFileSync(dir.in("conf.json"), JSON.stringify(conf));
    chmodSync(dir.in("conf.json"), 0o644);
    const { stdout } = await asNobody(dir, ["sh", "-c", `${dir.in("bridge")} < ${dir.in("conf.json")}`], {
      CNI_COMMAND: "ADD",
      CNI_CONTAINERID: "c",
      CNI_IFNAME: "eth0",
      CNI_NETNS: container.path,
      CNI_PATH: dir.path,
    });
    expect(JSON.parse(stdout)).toMatchObject({
      msg: expect.stringContaining(
        "this process lacks CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_SYS_ADMIN: run it as root",
      ),
    });
  });

  rootTest("a user's own namespace gets its network, with the records in the user's directory", async () => {
    using dir = tempDir("security");
    const user = dir.in("user");
    mkdirSync(user, { mode: 0o700 });
    await run(["chown", `${NOBODY}:${NOBODY}`, user]);
    const ipam = { type: "host-local", dataDir: `${user}/ipam`, subnet: "192.0.2.0/24" };
    const conf = { cniVersion: "1.0.0", name: "net", type: "bridge", bridge: "br0", isGateway: true, ipam };
    writeFileSync(dir.in("conf.json"), JSON.stringify(conf));
    chmodSync(dir.in("conf.json"), 0o644);
    const script = `
set -eu
unshare -n sleep 30 & container=$!
until [ "$(readlink /proc/$container/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
# As a user's directories are where each user has a group.
mkdir -m 775 ${user}/ipam
export CNI_NETNS=/proc/$container/ns/net
CNI_COMMAND=ADD ${dir.in("bridge")} < ${dir.in("conf.json")} > ${user}/result
nsenter -t $container -n ip -o -4 addr show eth0
ls ${user}/heddle/attachments
CNI_COMMAND=DEL ${dir.in("bridge")} < ${dir.in("conf.json")}
echo "left: $(ls ${user}/heddle/attachments) $(ip -o link show type veth)"
kill $container`;
    const argv = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--", "bash", "-c", script];
    const { stdout, stderr, code } = await asNobody(dir, argv, {
      CNI_CONTAINERID: "c",
      CNI_IFNAME: "eth0",
      CNI_PATH: dir.path,
      XDG_RUNTIME_DIR: user,
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain("192.0.2.2/24");
    expect(stdout).toContain("heddle-bridge-");
    expect(stdout).toContain("left:  \n");
  });

  rootTest(
    "so does a container of a user's own Podman, with what the runtime remembers there as well",
    async () => {
      using dir = tempDir("security");
      const user = dir.in("user");
      mkdirSync(user, { mode: 0o700 });
      await run(["chown", `${NOBODY}:${NOBODY}`, user]);
      const input = {
        container_id: "c",
        port_mappings: [{ host_port: 8080, container_port: 80 }],
        network: {
          name: "net",
          id: "ab",
          network_interface: "br0",
          subnets: [{ subnet: "192.0.2.0/24", gateway: "192.0.2.1" }],
        },
        network_options: { interface_name: "eth0", static_ips: ["192.0.2.2"] },
      };
      writeFileSync(dir.in("input.json"), JSON.stringify(input));
      chmodSync(dir.in("input.json"), 0o644);
      const script = `
set -eu
unshare -n sleep 30 & container=$!
until [ "$(readlink /proc/$container/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
${dir.in("heddle")} setup /proc/$container/ns/net < ${dir.in("input.json")} > ${user}/status
nsenter -t $container -n ip -o -4 addr show eth0
ls ${user}/heddle/cni/results
${dir.in("heddle")} teardown /proc/$container/ns/net < ${dir.in("input.json")}
echo "left: $(ls ${user}/heddle/attachments ${user}/heddle/cni/results | grep -v : ) $(ip -o link show type bridge)"
kill $container`;
      const argv = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--", "bash", "-c", script];
      const { stdout, stderr, code } = await asNobody(dir, argv, { XDG_RUNTIME_DIR: user });
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toContain("192.0.2.2/24");
      expect(stdout).toContain("net-c-eth0");
      expect(stdout).toContain("left:  \n");
    },
  );
});
