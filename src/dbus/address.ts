/** Where the system bus listens: addresses as the D-Bus Specification writes them, and the sockets that they mean. */
import { statPath } from "../sys/files.ts";

type Env = Readonly<Record<string, string | undefined>>;

/** The socket that the specification names, "Well-known Message Bus Instances". */
const SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket";

/** The sockets of the system bus, by `DBUS_SYSTEM_BUS_ADDRESS` or as usual. */
export function systemBusSockets(env: Env = process.env): readonly string[] {
  const asked = env["DBUS_SYSTEM_BUS_ADDRESS"];
  return socketsOf(asked === undefined || asked === "" ? SYSTEM_BUS : asked);
}

/** False if there is certainly no bus: no file at any of its paths. */
export const mayHaveSystemBus = (env: Env = process.env): boolean =>
  systemBusSockets(env).some((path) => path.startsWith("\0") || statPath(path) !== undefined);

/**
 * Sockets of an address list ("Server Addresses"); transports other than `unix` are passed over. A first character of zero
 * stands for the abstract namespace.
 */
export function socketsOf(addresses: string): string[] {
  return addresses.split(";").flatMap((address) => {
    if (!address.startsWith("unix:")) return [];
    const pairs = new Map(address.slice(5).split(",").map(pairOf));
    const path = pairs.get("path");
    const abstract = pairs.get("abstract");
    if (path !== undefined) return [path];
    return abstract === undefined ? [] : [`\0${abstract}`];
  });
}
function pairOf(pair: string): readonly [string, string] {
  const at = pair.indexOf("=");
  return [pair.slice(0, at), unescape(pair.slice(at + 1))];
}
/** Bytes other than letters, digits and a few signs are written as % and two hex digits. */
function unescape(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}
