/**
 * A place in the machine's control groups for the runtimes of one ground: a group below the one that the caller is in,
 * in every hierarchy that there is, so that the limits of the caller stay in force. Knows nothing of what runs in it.
 */
import {
  accessSync,
  constants,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { basename, join, relative } from "node:path";

export interface Hierarchy {
  readonly version: 1 | 2;
  /** What it is mounted with: `cpu,cpuacct`, `name=systemd`; empty for version 2. */
  readonly controllers: string;
  /** Where the machine has mounted it. */
  readonly mountPoint: string;
  /** The directory of the caller's own group. */
  readonly own: string;
}

/** The hierarchies of which the caller is a member. Pure: from the texts of /proc/self/cgroup and mountinfo. */
export function hierarchiesOf(membership: string, mounts: string): readonly Hierarchy[] {
  const mounted = mounts
    .split("\n")
    .map((line) => line.split(" "))
    .map((words) => ({ words, type: words[words.indexOf("-") + 1] ?? "", options: words.at(-1) ?? "" }))
    .filter(({ type }) => type === "cgroup" || type === "cgroup2");
  return membership.split("\n").flatMap((line) => {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === undefined || path === undefined) return [];
    const version = controllers === "" ? 2 : 1;
    const wanted = controllers.split(",");
    const at = mounted.find(({ type, options }) =>
      version === 2
        ? type === "cgroup2"
        : type === "cgroup" && wanted.every((name) => options.split(",").includes(name)),
    );
    const [, , , root = "/", mountPoint] = at?.words ?? [];
    if (mountPoint === undefined) return []; // Compiled in and not mounted: nothing could be put there.
    const below = relative(root, path);
    return [
      {
        version,
        controllers,
        mountPoint,
        own: below.startsWith("..") ? mountPoint : join(mountPoint, below),
      },
    ];
  });
}

/** The hierarchies of this process. */
export const ownHierarchies = (): readonly Hierarchy[] =>
  hierarchiesOf(readFileSync("/proc/self/cgroup", "utf8"), readFileSync("/proc/self/mountinfo", "utf8"));

/** True if groups can be made here, or why not. */
export function groupsAreThere(): true | string {
  const hierarchies = ownHierarchies();
  if (hierarchies.length === 0) return "needs control groups that are mounted";
  try {
    for (const hierarchy of hierarchies) accessSync(parentFor(hierarchy), constants.W_OK);
    return true;
  } catch {
    return "needs control groups that can be written to";
  }
}

/** Makes a group of this name in every hierarchy and gives their directories. */
export function makeGroups(hierarchies: readonly Hierarchy[], name: string): readonly string[] {
  return hierarchies.map((hierarchy) => {
    const parent = parentFor(hierarchy);
    const dir = join(parent, name);
    mkdirSync(dir);
    // Without processors and memory nobody may enter a group of the old kind.
    if (hierarchy.version === 1 && hierarchy.controllers.split(",").includes("cpuset"))
      for (const file of ["cpuset.cpus", "cpuset.mems"])
        writeFileSync(join(dir, file), readFileSync(join(parent, file)));
    return dir;
  });
}

/** With version 2 a group that has processes gives its children no controllers; the root may. */
function parentFor({ version, mountPoint, own }: Hierarchy): string {
  if (version === 1) return own;
  return given(mountPoint) > given(own) ? mountPoint : own;
}

function given(dir: string): number {
  const text = readFileSync(join(dir, "cgroup.subtree_control"), "utf8");
  return text.split(/\s+/).filter((word) => word !== "").length;
}

/** Moves a process. */
export function enter(dirs: readonly string[], pid: number): void {
  for (const dir of dirs) writeFileSync(join(dir, "cgroup.procs"), String(pid));
}

/** Removes the group and those below it. @throws EBUSY if one still has a process */
export function removeGroup(dir: string): void {
  for (const entry of readdirSync(dir, { withFileTypes: true }))
    if (entry.isDirectory()) removeGroup(join(dir, entry.name));
  rmdirSync(dir);
}

/** Where groups of that name could be: what a keeper that was killed has left. */
export const groupsNamed = (hierarchies: readonly Hierarchy[], fits: RegExp): readonly string[] =>
  hierarchies.flatMap((hierarchy) => {
    const parent = parentFor(hierarchy);
    return readdirSync(parent)
      .filter((name) => fits.test(name))
      .map((name) => join(parent, name));
  });

/** A mount command that gives a hierarchy to a group namespace, and names for its controllers that are links. */
export interface GroupMount {
  readonly name: string;
  readonly argv: readonly string[];
  readonly links: readonly string[];
}

/** How the hierarchies of version 1 are mounted below a directory; version 2 beside them is called `unified`. */
export function groupMounts(hierarchies: readonly Hierarchy[], dir: string): readonly GroupMount[] {
  return hierarchies.map(({ version, controllers, mountPoint }) => {
    if (version === 2)
      return { name: "unified", argv: ["-t", "cgroup2", "cgroup2", join(dir, "unified")], links: [] };
    const name = basename(mountPoint);
    const options = controllers.startsWith("name=") ? `none,${controllers}` : controllers;
    const several = controllers.split(",").filter((controller) => controller !== name);
    const links = controllers.includes("=") ? [] : several;
    return { name, argv: ["-t", "cgroup", "-o", options, "cgroup", join(dir, name)], links };
  });
}
