/**
 * Makes the namespaces of a lab's hosts and pins them: network, name, and mounts in which the machine's state directories are the
 * host's own. Runs in a process of its own that ends at once, since it goes from namespace to namespace; a kill at any point
 * leaves what is pinned, which `lab down` removes, and nothing else.
 */
import {
  type Dirent,
  existsSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { NetError } from "../errors.ts";
import { enterForGood, leaveFor, type NamespaceKind, ownNamespace, setHostName } from "../sys/become.ts";
import type { Fd } from "../sys/fd.ts";
import { O, openFile, unlessErrno } from "../sys/files.ts";
import {
  copyMount,
  detachMountAt,
  mountBind,
  mountNew,
  mountPoints,
  placeMount,
  setPropagation,
} from "../sys/mounts.ts";
import { ownProcessors, runOn } from "../sys/processors.ts";
import { type HostPaths, type LabPaths, NETNS_DIRECTORY, OWN_DIRECTORIES } from "./paths.ts";

const kinds = ["mnt", "net", "uts"] as const satisfies readonly NamespaceKind[];
type Opened = { readonly [K in (typeof kinds)[number]]: Fd };

const openOwn = (stack: DisposableStack): Opened => {
  const open = (kind: NamespaceKind): Fd => stack.use(openFile(ownNamespace(kind), O.RDONLY));
  return { mnt: open("mnt"), net: open("net"), uts: open("uts") };
};
const pathOf = (fd: Fd): string => `/proc/self/fd/${fd.raw}`;

/** Makes the directory of a lab as a file system of its own, with nothing in it but what `first` writes. */
export function makeLabDirectory({ dir }: LabPaths, first: () => void): void {
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  mountNew("tmpfs", dir, "mode=755");
  // Copies of the machine's mounts, of services for example, show the mounts here too, and lose them with us.
  setPropagation(dir, "private", { recursive: false });
  setPropagation(dir, "shared", { recursive: false });
  first();
}

/** Makes and pins every host; what links and addresses they get is another matter (`wire.ts`). */
export function makeHosts(paths: LabPaths, hosts: readonly string[]): void {
  mkdirSync(paths.mounts);
  mkdirSync(paths.shared);
  mountBind(paths.mounts, paths.mounts, { recursive: false });
  // The kernel wants pinned mounts on a mount that has no copies.
  setPropagation(paths.mounts, "private", { recursive: false });
  for (const host of hosts) makeDirectories(paths, paths.host(host));
  using stack = new DisposableStack();
  const home = openOwn(stack);
  for (const host of hosts) makePinned(paths, host, home);
}

/**
 * Mounts can be pinned only in a namespace that is older than they are. Since Linux 6.18 age is told by numbers of which each
 * processor has a stock of its own, so that a new namespace can look older than the one it was made from; one that is made on
 * the processor where that one was made does not.
 */
function makePinned(paths: LabPaths, host: string, home: Opened): void {
  const { mnt, net, uts } = paths.host(host);
  const processors = ownProcessors();
  try {
    for (const only of [undefined, ...processors]) {
      if (only !== undefined) runOn([only]);
      using opened = new DisposableStack();
      const own = makeHost(paths, host, home, opened);
      if (!tryPin(own.mnt, mnt)) continue;
      pin(own.net, net);
      pin(own.uts, uts);
      return;
    }
  } finally {
    runOn(processors);
  }
  throw new NetError("feature/missing", {
    feature: "pinned mounts",
    needs: "a mount namespace that can hold others",
  });
}

const tryPin = (namespace: Fd, at: string): boolean =>
  unlessErrno(["EINVAL"], () => (pin(namespace, at), true)) ?? false;

function makeDirectories(paths: LabPaths, host: HostPaths): void {
  for (const directory of [
    ...OWN_DIRECTORIES.map((d) => `${host.dir}/fs${d}`),
    host.containers,
    host.processes,
    host.scratch,
  ])
    mkdirSync(directory, { recursive: true, mode: 0o755 });
  // Where the host sees what it shares with the others.
  mkdirSync(`${host.dir}/fs${paths.dir}`, { recursive: true, mode: 0o755 });
  mkdirSync(host.netns);
  mountBind(host.netns, host.netns, { recursive: false });
  // A group of its own: what is mounted here shows in the host and nowhere else.
  setPropagation(host.netns, "private", { recursive: false });
  setPropagation(host.netns, "shared", { recursive: false });
}

function pin(namespace: Fd, at: string): void {
  writeFileSync(at, "");
  mountBind(pathOf(namespace), at, { recursive: false });
}

/** Namespaces as the host is to have them. This thread is back in its own when it returns, or the process ends. */
function makeHost(paths: LabPaths, name: string, home: Opened, stack: DisposableStack): Opened {
  leaveFor("mnt", "net", "uts");
  setHostName(name);
  makeMounts(paths, paths.host(name));
  const own = openOwn(stack);
  for (const kind of kinds) enterForGood(kind, home[kind].raw);
  return own;
}

function makeMounts(paths: LabPaths, host: HostPaths): void {
  using stack = new DisposableStack();
  const netns = stack.use(copyMount(host.netns));
  // Nothing of what follows comes to the machine, and what the machine unmounts goes from here too.
  setPropagation("/", "slave", { recursive: true });
  const hold = (path: string): Fd => stack.use(openFile(path, O.PATH));
  const own = OWN_DIRECTORIES.map((directory) => [hold(`${host.dir}/fs${directory}`), directory] as const);
  const lab = hold(paths.dir);
  for (const directory of [...OWN_DIRECTORIES, NETNS_DIRECTORY]) ensureDirectory(directory, host.scratch);
  for (const [source, directory] of own) mountBind(pathOf(source), directory, { recursive: false });
  mountBind(pathOf(lab), paths.dir, { recursive: false });
  placeMount(netns, NETNS_DIRECTORY);
  renewSysfs();
}

/**
 * Makes a directory in this namespace alone, if there is none: the nearest one above that is there becomes a file system in
 * memory, in which everything that it had stands again.
 */
function ensureDirectory(path: string, scratch: string): void {
  if (existsSync(path)) return;
  let above = dirname(path);
  while (!existsSync(above)) above = dirname(above);
  if (above === "/") throw new Error(`${path}: there is no directory above it to make it in`);
  renewDirectory(above, scratch);
  mkdirSync(path, { recursive: true });
}

function renewDirectory(directory: string, scratch: string): void {
  using stack = new DisposableStack();
  mountBind(directory, scratch, { recursive: true });
  // By its descriptor it is reached also when `scratch` is in what is covered now.
  const old = stack.use(openFile(scratch, O.PATH));
  const entries = readdirSync(scratch, { withFileTypes: true });
  const { mode } = statSync(scratch);
  mountNew("tmpfs", directory, `mode=${(mode & 0o7777).toString(8)}`);
  for (const entry of entries)
    standAgain(entry, `${pathOf(old)}/${entry.name}`, `${directory}/${entry.name}`);
  detachMountAt(old.raw);
}

function standAgain(entry: Dirent, from: string, to: string): void {
  if (entry.isSymbolicLink()) {
    symlinkSync(readlinkSync(from), to);
    return;
  }
  if (entry.isDirectory()) mkdirSync(to);
  else writeFileSync(to, "");
  try {
    mountBind(from, to, { recursive: true });
  } catch (e) {
    // It went while this was on its way.
    if (existsSync(from)) throw e;
    rmSync(to, { recursive: true });
  }
}

const SYSFS = "/sys";

/** Network devices in /sys are those of the namespace that it was mounted in; what is mounted below it is not about them. */
function renewSysfs(): void {
  if (!existsSync(`${SYSFS}/class`)) return;
  using stack = new DisposableStack();
  const below = [...new Set(mountPoints())]
    .filter((point) => point.startsWith(`${SYSFS}/`))
    .filter((point, _, all) => !all.some((other) => point.startsWith(`${other}/`)))
    .map((point) => ({ point, copy: stack.use(copyMount(point)) }));
  mountNew("sysfs", SYSFS);
  for (const { point, copy } of below) if (existsSync(point)) placeMount(copy, point);
}
