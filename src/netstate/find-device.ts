import type { Mac } from "../net/mac.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { findLink, type Link, listLinks } from "../rtnl/link.ts";
import { listDir, readLink, readText, statPath, unlessErrno } from "../sys/files.ts";

/**
 * Finding a device of the host by what people and device plugins call it. Buses are looked at in sysfs, which shows the
 * links of the namespace that it was mounted in: on a host, the host's.
 */
export interface DeviceWanted {
  /** The first of these that is given decides. */
  readonly name?: string;
  readonly mac?: Mac;
  /** A directory below /sys/devices that has `net`. */
  readonly kernelPath?: string;
  /** `0000:03:00.1` */
  readonly pci?: string;
  /** A device of the auxiliary bus, such as `mlx5_core.sf.4`. */
  readonly auxiliary?: string;
}

export type DeviceFound =
  /** `pciId` is absent for what is on no such bus. */
  | { readonly kind: "link"; readonly link: Link; readonly pciId?: string }
  /** A driver has it that gives it to a program and not to the kernel's network. */
  | { readonly kind: "user-space"; readonly driver: string; readonly pciId: string }
  | { readonly kind: "none"; readonly why: string };

/** Drivers by which programs (DPDK) use a PCI device without the kernel's network. */
const USER_SPACE_DRIVERS: readonly string[] = ["vfio-pci", "uio_pci_generic", "igb_uio"];

const PCI_ADDRESS = "[0-9a-fA-F]{4,}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\\.[0-7]";
const OWN_PCI = new RegExp(`/(${PCI_ADDRESS})(?:/virtio\\d+)?/net/[^/]+$`);
export const isPciAddress = (text: string): boolean => new RegExp(`^${PCI_ADDRESS}$`).test(text);

/** `sysfs` is another directory than /sys in tests alone. */
export function findDevice(socket: NetlinkSocket, wanted: DeviceWanted, sysfs = "/sys"): DeviceFound {
  const { name, mac, kernelPath, pci, auxiliary } = wanted;
  if (pci !== undefined) {
    const driver = driverOf(pci, sysfs);
    if (driver !== undefined && USER_SPACE_DRIVERS.includes(driver))
      return { kind: "user-space", driver, pciId: pci };
  }
  if (name !== undefined) return found(findLink(socket, { name }), `the host has no link ${name}`, sysfs);
  if (mac !== undefined)
    return found(
      listLinks(socket).find((l) => l.mac === mac && !l.loopback),
      `the host has no link with the address ${mac}`,
      sysfs,
    );
  if (kernelPath !== undefined)
    return below(socket, sysfs + kernelPath.slice("/sys".length), kernelPath, sysfs);
  if (pci !== undefined) return onPci(socket, pci, sysfs);
  return below(
    socket,
    `${sysfs}/bus/auxiliary/devices/${auxiliary}`,
    `the device ${auxiliary} of the auxiliary bus`,
    sysfs,
  );
}

function found(link: Link | undefined, why: string, sysfs: string): DeviceFound {
  if (link === undefined) return { kind: "none", why };
  const pciId = pciOf(link, sysfs);
  return { kind: "link", link, ...(pciId === undefined ? {} : { pciId }) };
}

/** A virtual function of a card, or a device of virtio behind one; not what hangs deeper below a device. */
function pciOf(link: Link, sysfs: string): string | undefined {
  const path = `${sysfs}/class/net/${link.name}`;
  return isAt(link, path) ? OWN_PCI.exec(readLink(path) ?? "")?.[1] : undefined;
}

/** False where sysfs shows another namespace, which may have a link of the same name. */
const isAt = ({ index }: Link, path: string): boolean =>
  unlessErrno(["ENOENT", "ENOTDIR", "EINVAL"], () => readText(`${path}/ifindex`).trim()) === String(index);

function driverOf(pci: string, sysfs: string): string | undefined {
  const target = readLink(`${sysfs}/bus/pci/devices/${pci}/driver`);
  return target?.slice(target.lastIndexOf("/") + 1);
}

const names = (dir: string): readonly string[] =>
  (unlessErrno(["ENOENT", "ENOTDIR"], () => listDir(dir)) ?? []).map((e) => e.name).toSorted();

/** The first link in `net` of a device's directory. */
function below(socket: NetlinkSocket, dir: string, what: string, sysfs: string): DeviceFound {
  for (const name of names(`${dir}/net`)) {
    const link = findLink(socket, { name });
    if (link !== undefined && isAt(link, `${dir}/net/${name}`)) return found(link, "", sysfs);
  }
  const why = statPath(dir) === undefined ? "is not there" : "has no link in the host's namespace";
  return { kind: "none", why: `${what} ${why}` };
}

function onPci(socket: NetlinkSocket, pci: string, sysfs: string): DeviceFound {
  const dir = `${sysfs}/bus/pci/devices/${pci}`;
  const inner = names(dir).filter((n) => n.startsWith("virtio"));
  for (const at of [dir, ...inner.map((n) => `${dir}/${n}`)]) {
    const one = below(socket, at, "", sysfs);
    if (one.kind === "link") return { ...one, pciId: pci };
  }
  const why =
    statPath(dir) === undefined
      ? "is not there"
      : `has no link in the host's namespace; its driver is ${driverOf(pci, sysfs) ?? "none"}`;
  return { kind: "none", why: `the PCI device ${pci} ${why}` };
}
