/**
 * How the configuration names parameters of the kernel: as sysctl(8) does, with dots or with slashes, of which the first
 * tells which of the two divides the parts. The other one then belongs to a part, as in `net.ipv4.conf.eth0/5.forwarding`
 * of the interface `eth0.5`.
 */
import { invalid } from "../../../cni/json.ts";

/** Stands for the name of the container's interface. */
const PLACEHOLDER = "IFNAME";

/**
 * The path below /proc/sys.
 * @throws NetError config/invalid unless it is below `net/` and goes only down
 */
export function sysctlPath(key: string, at: string): string {
  const path = withSlashes(key);
  const parts = path.split("/");
  if (parts.some((part) => part === "" || part === "." || part === ".." || part.includes("\0")))
    invalid(at, `"${key}" is no name of a kernel parameter`);
  if (parts[0] !== "net" || parts.length < 3)
    invalid(at, `"${key}" is no parameter of the network: only those below net may be set`);
  return path;
}

function withSlashes(key: string): string {
  const dot = key.indexOf(".");
  const slash = key.indexOf("/");
  if (dot === -1 || (slash !== -1 && slash < dot)) return key;
  return key.replaceAll(/[./]/g, (c) => (c === "." ? "/" : "."));
}

/** The path for one interface. */
export const pathFor = (path: string, ifname: string): string => path.replace(PLACEHOLDER, () => ifname);
