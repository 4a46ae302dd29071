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
  const dir = `/sys/class/net/${name}`;
  const read = (file: string): string | undefined =>
    unlessErrno(["ENOENT", "ENOTDIR", "EINVAL"], () => readText(`${dir}/${file}`).trim());
  if (read("ifindex") !== String(index)) return undefined;
  const driver = read("device/uevent")
    ?.split("\n")
    .find((line) => line.startsWith("DRIVER="))
    ?.slice("DRIVER=".length);
  return {
    wireless: ["phy80211", "wireless"].some((file) => statPath(`${dir}/${file}`) !== undefined),
    virtualFunction: statPath(`${dir}/device/physfn`) !== undefined,
    ...(driver ? { driver } : {}),
  };
}
