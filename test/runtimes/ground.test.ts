/**
 * The ground itself: what is inside is not the machine's, and nothing is left of it, also when the test that made it is
 * killed.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { startProcess } from "../../src/testing/netns.ts";
import { run } from "../../src/testing/run.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { groupsNamed, hierarchiesOf, ownHierarchies } from "./cgroups.ts";
import { type Ground, ground, groundTest } from "./ground.ts";
import { busyboxImage } from "./image.ts";
import { baseTree } from "./root-tree.ts";
import { asked, outside, UPLINK } from "./traffic.ts";

const heddle = heddleOfFile();
const tree = await baseTree();
const kernel = groundTest(tree);

const parentOf = (pid: number): number =>
  Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
/** The keeper has started `unshare`, and that the first process. */
const keeperOf = (pid: number): number => parentOf(parentOf(pid));
const groupsOf = (keeper: number): readonly string[] =>
  groupsNamed(ownHierarchies(), new RegExp(`^heddle-ground-${keeper}$`));

async function until(what: () => boolean): Promise<void> {
  for (const deadline = performance.now() + patience(10_000); !what(); await Bun.sleep(2))
    if (performance.now() > deadline) throw new Error(`not within the limit: ${what.toString()}`);
}

/** A test that makes a ground with a daemon in it, and would go on for ever. */
async function startedByAnother() {
  const script = `import { ground } from ${JSON.stringify(join(import.meta.dir, "ground.ts"))};
    const on = await ground(process.argv[1], { path: process.argv[2] });
    const daemon = await on.start(["busybox", "httpd", "-f", "-p", "80"]);
    await on.exec(["mkdir", "-p", "/sys/fs/cgroup/pids/runtime/container"], { mustSucceed: false });
    console.log("ready " + on.pid + " " + daemon.pid);
    await Bun.sleep(1e9);`;
  const other = startProcess([process.execPath, "--no-orphans", "-e", script, tree ?? "", heddle.path]);
  let text = "";
  for await (const chunk of other.stdout) {
    text += Buffer.from(chunk).toString();
    if (text.endsWith("\n")) break;
  }
  const [, pid = 0, daemon = 0] = /^ready (\d+) (\d+)$/m.exec(text)?.map(Number) ?? [];
  return { other, pid, daemon, keeper: keeperOf(pid) };
}

describe("a ground", () => {
  kernel("has files, processes and a network of its own, and Heddle installed", async () => {
    await using on: Ground = await ground(tree, heddle);
    using mine = tempDir("ground");
    const { stdout: links } = await on.exec(["ip", "-brief", "link"]);
    expect(links).toMatch(/^lo +UNKNOWN.*\n$/);
    expect((await on.exec(["ls", "/tmp", mine.path], { mustSucceed: false })).stdout).toBe("/tmp:\n");
    expect((await on.exec(["busybox", "pidof", "bun"], { mustSucceed: false })).stdout).toBe("");
    expect((await on.exec(["ls", "/opt/cni/bin"])).stdout.split("\n")).toContain("bridge");
    on.write("/etc/cni/net.d/one.conf", "{}");
    expect((await on.exec(["cat", "/etc/cni/net.d/one.conf"])).stdout).toBe("{}");
    expect(existsSync(join(tree ?? "", "etc/cni/net.d/one.conf"))).toBe(false);
  });

  kernel("cannot change the machine's settings but those of its own network", async () => {
    await using on = await ground(tree, heddle);
    const set = (key: string, value: string) =>
      on.exec(["busybox", "sysctl", "-w", `${key}=${value}`], { mustSucceed: false });
    expect((await set("net.ipv4.ip_forward", "1")).code).toBe(0);
    const panic = readFileSync("/proc/sys/kernel/panic", "utf8").trim();
    expect((await set("kernel.panic", panic)).stderr).toContain("Read-only file system");
  });

  kernel("is reached by a machine on its uplink, and by the test", async () => {
    await using on = await ground(tree, heddle);
    await using machine = await outside(on);
    on.write("/www/index.html", "here\n");
    await using _server = await on.start(["busybox", "httpd", "-f", "-p", "80", "-h", "/www"]);
    expect(await asked(machine.path, UPLINK.ground, 80, "/")).toBe("here");
    expect(await asked(on.net, "127.0.0.1", 80, "/")).toBe("here");
  });

  kernel("runs a daemon in its control groups and ends it by the signal that is asked for", async () => {
    await using on = await ground(tree, heddle);
    await using server = await on.start(["busybox", "httpd", "-f", "-v", "-p", "80"]);
    const groups = groupsOf(keeperOf(on.pid));
    expect(groups.length).toBeGreaterThan(0);
    for (const dir of groups)
      expect(
        (await run(["grep", "-rxh", String(server.pid), dir, "--include=cgroup.procs"])).stdout,
      ).not.toBe("");
    await server.end("SIGKILL");
    expect(existsSync(`/proc/${server.pid}`)).toBe(false);
  });

  kernel("says what a daemon printed that ends at once", async () => {
    await using on = await ground(tree, heddle);
    const daemon = async () => {
      const started = await on.start(["busybox", "httpd", "--nonsense"]);
      await started.log.line((line) => line === "never");
    };
    expect(String(await daemon().catch((e: unknown) => e))).toContain("unrecognized option");
  });

  kernel("leaves no process, no control group and no file", async () => {
    let keeper = 0;
    let pid = 0;
    {
      await using on = await ground(tree, heddle);
      [pid, keeper] = [on.pid, keeperOf(on.pid)];
      await on.start(["busybox", "httpd", "-f", "-p", "80"]);
      expect(groupsOf(keeper)).not.toEqual([]);
    }
    expect([existsSync(`/proc/${pid}`), existsSync(`/proc/${keeper}`), groupsOf(keeper)]).toEqual([
      false,
      false,
      [],
    ]);
  });

  kernel("leaves nothing when the test is killed", async () => {
    const { other, pid, daemon, keeper } = await startedByAnother();
    process.kill(other.pid, "SIGKILL");
    await until(() => [pid, daemon, keeper].every((one) => !existsSync(`/proc/${one}`)));
    expect(groupsOf(keeper)).toEqual([]);
    await other[Symbol.asyncDispose]();
  });

  kernel("ends with its keeper, and the next one removes the control groups", async () => {
    const { other, pid, daemon, keeper } = await startedByAnother();
    process.kill(keeper, "SIGKILL");
    await until(() => [pid, daemon].every((one) => !existsSync(`/proc/${one}`)));
    await other[Symbol.asyncDispose]();
    await using _next = await ground(tree, heddle);
    expect(groupsOf(keeper)).toEqual([]);
  });
});

describe("the image", () => {
  kernel("is one archive with the layout of OCI and that of docker save", async () => {
    using dir = tempDir("image");
    await Bun.write(dir.in("image.tar"), busyboxImage(tree ?? ""));
    await run(["tar", "--extract", "--file", dir.in("image.tar"), "--directory", dir.path]);
    const json = async (path: string) => (await Bun.file(dir.in(path)).json()) as Record<string, unknown>;
    const [saved] = (await json("manifest.json")) as unknown as { Config: string; Layers: string[] }[];
    const { manifests } = (await json("index.json")) as { manifests?: { digest: string; size: number }[] };
    const manifest = `blobs/${manifests?.[0]?.digest.replace(":", "/")}`;
    expect(Bun.file(dir.in(manifest)).size).toBe(manifests?.[0]?.size ?? -1);
    for (const path of [manifest, saved?.Config ?? "", ...(saved?.Layers ?? [])]) {
      const bytes = await Bun.file(dir.in(path)).bytes();
      expect(path).toBe(`blobs/sha256/${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`);
    }
    const layer = await run(["tar", "--list", "--verbose", "--file", dir.in(saved?.Layers[0] ?? "")]);
    expect(layer.stdout).toMatch(/^-rwxr-xr-x 0\/0 .* bin\/busybox$/m);
    expect(layer.stdout).toMatch(/^lrwxrwxrwx 0\/0 .* bin\/sh -> busybox$/m);
    expect(readdirSync(dir.path).toSorted()).toEqual([
      "blobs",
      "image.tar",
      "index.json",
      "manifest.json",
      "oci-layout",
    ]);
  });
});

describe("the place in the control groups", () => {
  const mounts = (...lines: readonly string[]) =>
    lines.map((line, i) => `${30 + i} 24 0:${i} ${line}`).join("\n");

  test("of version 2 is one hierarchy", () => {
    const text = mounts("/ /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate");
    const scope = "/user.slice/session-1.scope";
    expect(hierarchiesOf(`0::${scope}\n`, text)).toEqual([
      { version: 2, controllers: "", mountPoint: "/sys/fs/cgroup", own: `/sys/fs/cgroup${scope}` },
    ]);
  });

  test("of version 1 has one for each set of controllers, whatever their order in the mount", () => {
    const text = mounts(
      "/ /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755",
      "/ /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpuacct,cpu",
      "/ /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd",
    );
    expect(hierarchiesOf("4:cpu,cpuacct:/a\n3:pids:/\n1:name=systemd:/b\n", text)).toEqual([
      {
        version: 1,
        controllers: "cpu,cpuacct",
        mountPoint: "/sys/fs/cgroup/cpu,cpuacct",
        own: "/sys/fs/cgroup/cpu,cpuacct/a",
      },
      {
        version: 1,
        controllers: "name=systemd",
        mountPoint: "/sys/fs/cgroup/systemd",
        own: "/sys/fs/cgroup/systemd/b",
      },
    ]);
  });

  test("in a container is below what is mounted there", () => {
    const text = mounts("/docker/one /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids");
    expect(hierarchiesOf("3:pids:/docker/one/two\n", text)[0]?.own).toBe("/sys/fs/cgroup/pids/two");
    expect(hierarchiesOf("3:pids:/\n", text)[0]?.own).toBe("/sys/fs/cgroup/pids");
  });
});
