/**
 * Makes a ground and takes it away: `keeper.ts TREE BASE PROGRAM`. A process of its own, so that a test that is killed
 * leaves nothing either: the end of its standard input is the order to end. Prints one line of JSON when all is ready.
 *
 * The ground's process 1 is a small init that collects orphans. If the keeper itself is killed the kernel ends process 1
 * and with it all others; the mounts go with their namespace, and the next keeper removes the empty control groups.
 */
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { command } from "../../scripts/command.ts";
import {
  enter,
  groupMounts,
  groupsNamed,
  type Hierarchy,
  makeGroups,
  ownHierarchies,
  removeGroup,
} from "./cgroups.ts";

const NAME = /^heddle-ground-(\d+)$/;
/** Covered in the ground's mount namespace to build its root on. */
const STAGE = "/run";
const ROOT = `${STAGE}/root`;
const CGROUPS = "/sys/fs/cgroup";
const DEVICES = ["null", "zero", "full", "random", "urandom", "tty", "fuse", "net/tun"];
/** What the keeper says when the ground is there: its first process, and the control groups for further ones. */
export interface Kept {
  readonly pid: number;
  readonly groups: readonly string[];
}

type Inside = (...argv: readonly string[]) => Promise<string>;

/** Everything below `dir` is as a fresh system has it. Its first process is `pid`, still in the machine's file system. */
async function buildRoot(pid: number, tree: string, program: string): Promise<void> {
  const spaces = ["--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup"];
  const inside: Inside = (...argv) => command(["nsenter", `--target=${pid}`, ...spaces, "--", ...argv]);
  const mount: Inside = (...words) => inside("mount", ...words);
  await mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", STAGE);
  await inside("mkdir", `${STAGE}/upper`, `${STAGE}/work`, `${STAGE}/lower`, ROOT);
  await mount("--bind", tree, `${STAGE}/lower`);
  const layers = `lowerdir=${STAGE}/lower,upperdir=${STAGE}/upper,workdir=${STAGE}/work`;
  await mount("-t", "overlay", "-o", layers, "overlay", ROOT);
  const dirs = [
    "proc",
    "sys",
    "dev",
    "run",
    "tmp",
    "var/lib",
    "var/tmp",
    "mnt",
    "opt/cni/bin",
    "etc/cni/net.d",
  ];
  await inside("mkdir", "-p", ...dirs.map((dir) => `${ROOT}/${dir}`), `${ROOT}/usr/local/bin`);
  // Not the layers: runtimes put layers of their own there.
  for (const [dir, mode] of [
    ["run", "755"],
    ["var/lib", "755"],
    ["tmp", "1777"],
    ["var/tmp", "1777"],
  ] as const)
    await mount("-t", "tmpfs", "-o", `mode=${mode}`, "tmpfs", `${ROOT}/${dir}`);
  await mountKernel(mount, inside);
  await mountDevices(mount, inside);
  await inside("touch", `${ROOT}/usr/local/bin/heddle`);
  await mount("--bind", "-o", "ro", program, `${ROOT}/usr/local/bin/heddle`);
  await inside("ip", "link", "set", "lo", "up");
  await inside("pivot_root", ROOT, `${ROOT}/mnt`);
  await inside("umount", "--lazy", "/mnt");
}

/** Of the machine's own settings only those of the network, which are the namespace's, can be changed. */
async function mountKernel(mount: Inside, inside: Inside): Promise<void> {
  const proc = `${ROOT}/proc`;
  await mount("-t", "proc", "proc", proc);
  await mount("--bind", `${proc}/sys`, `${proc}/sys`);
  await mount("--bind", `${proc}/sys/net`, `${proc}/sys/net`);
  await mount("-o", "remount,bind,ro", `${proc}/sys`);
  await mount("-t", "sysfs", "sysfs", `${ROOT}/sys`);
  const hierarchies = ownHierarchies();
  if (hierarchies.every(({ version }) => version === 2)) {
    await mount("-t", "cgroup2", "cgroup2", ROOT + CGROUPS);
    return;
  }
  await mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", ROOT + CGROUPS);
  for (const { name, argv, links } of groupMounts(hierarchies, ROOT + CGROUPS)) {
    await inside("mkdir", `${ROOT}${CGROUPS}/${name}`);
    await mount(...argv);
    for (const link of links) await inside("ln", "-s", name, `${ROOT}${CGROUPS}/${link}`);
  }
}

async function mountDevices(mount: Inside, inside: Inside): Promise<void> {
  const dev = `${ROOT}/dev`;
  await mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", dev);
  await inside("mkdir", `${dev}/pts`, `${dev}/shm`, `${dev}/mqueue`, `${dev}/net`);
  for (const name of DEVICES.filter((device) => existsSync(`/dev/${device}`))) {
    await inside("touch", `${dev}/${name}`);
    await mount("--bind", `/dev/${name}`, `${dev}/${name}`);
  }
  await mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620", "devpts", `${dev}/pts`);
  await mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", `${dev}/shm`);
  await mount("-t", "mqueue", "mqueue", `${dev}/mqueue`);
  await inside("ln", "-s", "pts/ptmx", `${dev}/ptmx`);
  await inside("ln", "-s", "/proc/self/fd", `${dev}/fd`);
  for (const [n, name] of ["stdin", "stdout", "stderr"].entries())
    await inside("ln", "-s", `/proc/self/fd/${n}`, `${dev}/${name}`);
}

/** What an installation writes once. `root` leads into the ground. */
function writeFiles(root: string): void {
  const write = (path: string, text: string): void => writeFileSync(join(root, path), text);
  write("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
  write("etc/resolv.conf", "nameserver 192.0.2.53\n");
  write("etc/hostname", "ground\n");
  write("etc/machine-id", `${crypto.randomUUID().replaceAll("-", "")}\n`);
  write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n");
  write("etc/group", "root:x:0:\nnogroup:x:65534:\n");
  write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n");
  mkdirSync(join(root, "root"), { recursive: true });
  if (!existsSync(join(root, "var/run"))) symlinkSync("/run", join(root, "var/run"));
}

/**
 * Where processes of the ground are put, in each hierarchy. With version 2 a group that passes controllers on has no
 * processes itself, so that those that are there go into one below.
 */
function groupsForProcesses(made: readonly string[], hierarchies: readonly Hierarchy[]): readonly string[] {
  if (hierarchies.some(({ version }) => version === 1)) return made;
  return made.map((top) => {
    const below = join(top, "init");
    mkdirSync(below);
    const words = (file: string): readonly string[] =>
      readFileSync(join(top, file), "utf8")
        .split(/\s+/)
        .filter((word) => word !== "");
    for (const pid of words("cgroup.procs")) enter([below], Number(pid));
    for (const name of words("cgroup.controllers"))
      writeFileSync(join(top, "cgroup.subtree_control"), `+${name}`);
    return below;
  });
}

function sweep(hierarchies: readonly Hierarchy[]): void {
  for (const dir of groupsNamed(hierarchies, NAME)) {
    const pid = NAME.exec(basename(dir))?.[1] ?? "";
    if (existsSync(`/proc/${pid}`)) continue;
    try {
      removeGroup(dir);
    } catch {
      // Two keepers may sweep at once, and the kernel may not be done with the last process: the next one does it.
    }
  }
}

/** The process that `unshare` has started, once it is what it is to be. */
async function firstProcess(unshare: Bun.Subprocess<"ignore", "ignore", "pipe">): Promise<number> {
  const children = `/proc/${unshare.pid}/task/${unshare.pid}/children`;
  while (unshare.exitCode === null) {
    const pid = Number(readFileSync(children, "utf8"));
    if (pid > 0 && readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("tini")) return pid;
    await Bun.sleep(1);
  }
  throw new Error(`no first process: ${await unshare.stderr.text()}`);
}

async function keep(tree: string, base: string, program: string): Promise<void> {
  const hierarchies = ownHierarchies();
  sweep(hierarchies);
  const groups = makeGroups(hierarchies, `heddle-ground-${process.pid}`);
  const before = hierarchies.map(({ own }) => own);
  try {
    enter(groups, process.pid);
    const spaces = ["--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--fork"];
    // The init ends with `unshare`, and that with the keeper.
    const init = [join(base, "usr/bin/tini-static"), "-p", "SIGKILL", "--"];
    const idle = [join(base, "usr/bin/busybox"), "sleep", "1000000000"];
    const unshare = Bun.spawn(["setpriv", "--pdeathsig", "KILL", "unshare", ...spaces, ...init, ...idle], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    enter(before, process.pid);
    const pid = await firstProcess(unshare);
    try {
      await buildRoot(pid, tree, program);
      writeFiles(`/proc/${pid}/root`);
      const kept: Kept = { pid, groups: groupsForProcesses(groups, hierarchies) };
      console.log(JSON.stringify(kept));
      for await (const _ of Bun.stdin.stream());
    } finally {
      process.kill(pid, "SIGKILL");
      await unshare.exited;
    }
  } finally {
    for (const dir of groups) await removeSoon(dir);
  }
}

/** The kernel lets a group go a moment after its last process. */
async function removeSoon(dir: string): Promise<void> {
  for (const deadline = performance.now() + 10_000; ; await Bun.sleep(5)) {
    try {
      removeGroup(dir);
      return;
    } catch (e) {
      if (performance.now() > deadline) throw e;
    }
  }
}

if (import.meta.main) {
  const [tree, base, program] = process.argv.slice(2);
  if (tree === undefined || base === undefined || program === undefined)
    throw new Error("keeper.ts TREE BASE PROGRAM");
  // Who ends the tests with a signal ends this by the pipe.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
  await keep(tree, base, program);
}
