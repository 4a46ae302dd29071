import type { IfName } from "../net/ifname.ts";
import type { Link } from "../rtnl/link.ts";
import { readText, statPath, unlessErrno } from "../sys/files.ts";

/** What is behind a link, as sysfs tells: a radio, a function of a shared card, the card that a hypervisor plays. */
export interface Device {
  readonly wireless: boolean;
  /** A virtual function of an SR-IOV card. */
  readonly virtualFunction: boolean;
  /** The name of its driver, for example `vmxnet3`; absent for links that are software alone. */
  readonly driver?: string;
}

/** Undefined if sysfs shows another namespace than the one that the link is in. */
export function readDevice({ name, index }: Pick<Link, "name" | "index">): Device | undefined {
  return readOf(name, "ifindex") === String(index) ? shownDevice(name) : undefined;
}

/** The link of this name in the namespace that sysfs shows; undefined if there is none. */
export const namedDevice = (name: IfName): Device | undefined =>
  readOf(name, "ifindex") === undefined ? undefined : shownDevice(name);

const dirOf = (link: string): string => `/sys/class/net/${link}`;
const readOf = (link: string, file: string): string | undefined =>
  unlessErrno(["ENOENT", "ENOTDIR", "EINVAL"], () => readText(`${dirOf(link)}/${file}`).trim());

function shownDevice(name: string): Device {
  const has = (file: string): boolean => statPath(`${dirOf(name)}/${file}`) !== undefined;
  const driver = readOf(name, "device/uevent")
    ?.split("\n")
    .find((line) => line.startsWith("DRIVER="))
    ?.slice("DRIVER=".length);
  return {
    wireless: has("phy80211") || has("wireless"),
    virtualFunction: has("device/physfn"),
    ...(driver ? { driver } : {}),
  };
}
