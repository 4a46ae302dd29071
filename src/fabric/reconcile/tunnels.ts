/**
 * What links of the kind `wireguard` are beyond links: their keys and ports, and the peers that they have. The kernel tells nothing
 * when somebody changes them: they are read whenever everything is, each device once.
 */
import { isNetError, NetError } from "../../errors.ts";
import { findFamily } from "../../genl/family.ts";
import { getWireguard, WIREGUARD, type WireguardDevice, wireguardSetting } from "../../genl/wireguard.ts";
import type { NetlinkSocket } from "../../netlink/socket.ts";
import type { FabricTunnel } from "../host-state.ts";
import type { Notes } from "./links.ts";
import type { KnownLinks } from "./place.ts";
import { LIST } from "./report.ts";

/** The devices of a namespace by the numbers of their links, as they were read last; and what one needs to change them. */
export interface KnownTunnels {
  /** Number of the family in generic netlink; absent: the kernel has none, or was not asked. */
  readonly family?: number;
  readonly devices: ReadonlyMap<number, WireguardDevice>;
}

export const noTunnels: KnownTunnels = { devices: new Map() };

/**
 * Reads the devices of ours and gives those that are wanted their keys and ports. One that is right is not touched: to set a port
 * again would close its socket. Of one that cannot be read now, what is known stays.
 */
export function mendTunnels(
  socket: () => NetlinkSocket,
  before: KnownTunnels,
  links: KnownLinks,
  wanted: readonly FabricTunnel[],
  notes: Notes,
): KnownTunnels {
  const devices = new Map<number, WireguardDevice>();
  let { family } = before;
  let isFresh = false;
  const read = (index: number): WireguardDevice => {
    // It has another number after its module was loaded anew.
    if (!isFresh || family === undefined) family = findFamily(socket(), WIREGUARD);
    isFresh = true;
    return getWireguard(socket(), family, index);
  };
  for (const [index, link] of links.ours) {
    if (links.byName.get(link)?.kind !== WIREGUARD) continue;
    const device =
      notes.attempt({ object: "tunnel", key: `${link} ${LIST}` }, () => read(index)) ??
      before.devices.get(index);
    if (device !== undefined) devices.set(index, device);
  }
  for (const want of wanted) {
    const index = links.byName.get(want.link)?.index;
    const device = index === undefined ? undefined : devices.get(index);
    if (device === undefined || family === undefined) notes.waits();
    else {
      const known = family;
      notes.attempt({ object: "tunnel", key: want.link }, () => mend(socket(), known, want, device, notes));
    }
  }
  return { ...(family === undefined ? {} : { family }), devices };
}

function mend(
  socket: NetlinkSocket,
  family: number,
  { link, keys, listenPort }: FabricTunnel,
  device: WireguardDevice,
  notes: Notes,
): void {
  if (device.publicKey === keys.publicKey && device.listenPort === listenPort) return;
  try {
    socket.request(wireguardSetting(family, device.index, { ...keys, listenPort }));
  } catch (e) {
    if (!isNetError(e, "netlink/refused") || e.detail.errno !== "EADDRINUSE") throw e;
    throw new NetError(
      "port/taken",
      { port: `${listenPort}/udp of ${link}`, owner: "somebody else on this host" },
      { cause: e },
    );
  }
  notes.changed({ object: "tunnel", key: link }, device.publicKey === undefined ? "added" : "replaced");
}
