import { describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type NetlinkSocket, openNetlink } from "../netlink/socket.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { findDevice, isPciAddress } from "./find-device.ts";

/** Nothing here comes to a link: those are found on a real kernel. */
const socket = {} as NetlinkSocket;
const PCI = "0000:03:00.1";

function sysfs(
  ...links: readonly (readonly [path: string, to: string])[]
): { readonly path: string } & Disposable {
  const dir = tempDir("sysfs");
  for (const [path, to] of links) {
    mkdirSync(dirname(dir.in(path)), { recursive: true });
    symlinkSync(to, dir.in(path));
  }
  return { path: dir.path, [Symbol.dispose]: () => dir[Symbol.dispose]() };
}
const driver = (name: string) =>
  [`bus/pci/devices/${PCI}/driver`, `../../../bus/pci/drivers/${name}`] as const;

describe("a PCI device", () => {
  test.each([["vfio-pci"], ["uio_pci_generic"], ["igb_uio"]])(
    "with the driver %s belongs to a program",
    (name) => {
      using dir = sysfs(driver(name));
      expect(findDevice(socket, { pci: PCI }, dir.path)).toEqual({
        kind: "user-space",
        driver: name,
        pciId: PCI,
      });
    },
  );
  test("with another driver, or with none, has no link if there is none below it", () => {
    using other = sysfs(driver("ixgbe"));
    expect(findDevice(socket, { pci: PCI }, other.path)).toEqual({
      kind: "none",
      why: `the PCI device ${PCI} has no link in the host's namespace; its driver is ixgbe`,
    });
    using none = sysfs([`bus/pci/devices/${PCI}/subsystem`, "../../pci"]);
    expect(findDevice(socket, { pci: PCI }, none.path)).toMatchObject({
      why: expect.stringContaining("its driver is none") as string,
    });
  });
  test("that is not there is not there", () => {
    using dir = sysfs();
    expect(findDevice(socket, { pci: PCI }, dir.path)).toEqual({
      kind: "none",
      why: `the PCI device ${PCI} is not there`,
    });
  });
  test.each([
    ["0000:03:00.1", true],
    ["10000:e1:00.0", true],
    ["0000:03:00.8", false],
    ["03:00.1", false],
    ["0000:03:00.1/net", false],
  ])("is named by %s: %p", (text, is) => {
    expect(isPciAddress(text)).toBe(is);
  });
});

test("a device of the auxiliary bus or of a path is the link in its directory", () => {
  using dir = sysfs();
  const there = ["bus/auxiliary/devices/mlx5_core.sf.4", "devices/some/card"];
  for (const device of there) {
    // Of all links only the loopback is everywhere.
    mkdirSync(join(dir.path, device, "net/lo"), { recursive: true });
    writeFileSync(join(dir.path, device, "net/lo/ifindex"), "1\n");
  }
  using route = openNetlink("route");
  for (const wanted of [{ auxiliary: "mlx5_core.sf.4" }, { kernelPath: "/sys/devices/some/card" }])
    expect(findDevice(route, wanted, dir.path)).toMatchObject({ kind: "link", link: { name: "lo" } });
});

test("a device of the auxiliary bus or of a path that is not there is none", () => {
  using dir = sysfs();
  for (const wanted of [{ auxiliary: "mlx5_core.sf.4" }, { kernelPath: "/sys/devices/none" }])
    expect(findDevice(socket, wanted, dir.path)).toMatchObject({
      kind: "none",
      why: expect.stringContaining("is not there") as string,
    });
});
