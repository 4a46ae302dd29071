/**
 * Where a lab is kept. Its directory is a file system of its own in memory, so that all of it goes with one unmount, whatever
 * was half made in it:
 *
 *     /run/heddle/lab/LAB/            tmpfs; its mounts are shown in copies of the machine's mounts too, and go from them
 *       lab.json                      the state file
 *       bin/, plugins/                this executable as heddle, and as every plugin
 *       shared/                       what hosts share, at the same path in each of them
 *       mnt/HOST                      the host's mounts, pinned; on a mount of its own that nobody copies
 *       HOST/net, HOST/uts            its network and its name, pinned
 *       HOST/fs/run/heddle, …         what it has in place of the machine's directories
 *       HOST/netns/NAME               its named network namespaces; the same mount is its /run/netns
 *       HOST/containers/NAME.json     what `lab attach` did
 *       HOST/proc/NAME.json, .log     processes that the lab has started
 */
export const LABS = "/run/heddle/lab";

/** Directories that every host has for itself, by their path in it. `/run/netns` is another matter: it is shared. */
export const OWN_DIRECTORIES = [
  "/run/heddle",
  "/run/heddle-agent",
  "/var/lib/heddle",
  "/run/flannel",
  "/var/lib/cni",
  "/etc/cni/net.d",
] as const;
export const NETNS_DIRECTORY = "/run/netns";

export interface LabPaths {
  readonly lab: string;
  readonly dir: string;
  readonly state: string;
  readonly bin: string;
  readonly plugins: string;
  readonly shared: string;
  /** The directory of pinned mounts. */
  readonly mounts: string;
  host(name: string): HostPaths;
}
export interface HostPaths {
  readonly dir: string;
  readonly mnt: string;
  readonly net: string;
  readonly uts: string;
  readonly netns: string;
  readonly containers: string;
  readonly processes: string;
  /** An empty directory to mount something on for a moment. */
  readonly scratch: string;
  /** Where the machine finds a file that the host has at this path, below one of its own directories. */
  file(inHost: string): string;
}

export function labPaths(lab: string): LabPaths {
  const dir = `${LABS}/${lab}`;
  const mounts = `${dir}/mnt`;
  return {
    lab,
    dir,
    state: `${dir}/lab.json`,
    bin: `${dir}/bin`,
    plugins: `${dir}/plugins`,
    shared: `${dir}/shared`,
    mounts,
    host: (name) => {
      const own = `${dir}/${name}`;
      return {
        dir: own,
        mnt: `${mounts}/${name}`,
        net: `${own}/net`,
        uts: `${own}/uts`,
        netns: `${own}/netns`,
        containers: `${own}/containers`,
        processes: `${own}/proc`,
        scratch: `${own}/scratch`,
        file: (inHost) => {
          if (!OWN_DIRECTORIES.some((directory) => inHost.startsWith(`${directory}/`)))
            throw new TypeError(`${inHost} is not below a directory of the host's own`);
          return `${own}/fs${inHost}`;
        },
      };
    },
  };
}
