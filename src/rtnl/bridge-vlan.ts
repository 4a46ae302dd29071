import { VLAN_MAX, VLAN_MIN } from "../net/vlan.ts";
import { NLM_F } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { attrs, fixedAttr, repeated } from "../wire/attrs.ts";
import { struct, u16, u32, viewOf } from "../wire/fixed.ts";
import { ifinfomsg } from "./link-attrs.ts";

/**
 * VLANs of bridge ports: which tags a port takes, and which VLAN frames without a tag belong to. These are messages about
 * links in the family of bridges (linux/if_bridge.h), answered only by a kernel with CONFIG_BRIDGE_VLAN_FILTERING.
 */
const RTM = { DELLINK: 17, GETLINK: 18, SETLINK: 19 } as const;
const AF_BRIDGE = 7;
/** RTEXT_FILTER_BRVLAN_COMPRESSED (linux/rtnetlink.h): neighbouring VLANs as one range. */
const COMPRESSED = 1 << 2;
/** BRIDGE_VLAN_INFO_*. */
const flag = { PVID: 2, UNTAGGED: 4, RANGE_BEGIN: 8, RANGE_END: 16 } as const;

const vlanInfo = struct("bridge_vlan_info", 4, { flags: u16, vid: u16 });
const portAttrs = attrs("IFLA", {
  master: [10, fixedAttr(u32)],
  spec: [26, attrs("IFLA_BRIDGE", { vlans: [2, repeated(fixedAttr(vlanInfo))] })],
  extMask: [29, fixedAttr(u32)],
});
type VlanInfo = Parameters<typeof vlanInfo.set>[2];

/** The VLANs of one port. */
export interface PortVlans {
  /** Frames without a tag that come in belong to this VLAN, and those of it go out without one. Absent: there is none. */
  readonly native?: number;
  /** VLANs whose frames carry their tag; ascending, without the native one. */
  readonly tagged: readonly number[];
}

function request(type: number, index: number, attributes: Parameters<typeof portAttrs.encode>[0]) {
  const tail = portAttrs.encode(attributes);
  const body = new Uint8Array(ifinfomsg.size + tail.length);
  ifinfomsg.set(viewOf(body), 0, { family: AF_BRIDGE, type: 0, index, flags: 0, change: 0 });
  body.set(tail, ifinfomsg.size);
  return { type, flags: 0, body };
}

/** Ascending VLANs as the kernel takes them: each run of neighbours as its two ends. */
export function rangesOf(vlans: readonly number[]): readonly VlanInfo[] {
  const ranges: VlanInfo[] = [];
  for (let at = 0; at < vlans.length; at++) {
    const first = vlans[at] ?? 0;
    while (vlans[at + 1] === (vlans[at] ?? 0) + 1) at++;
    const last = vlans[at] ?? 0;
    if (first === last) ranges.push({ flags: 0, vid: first });
    else ranges.push({ flags: flag.RANGE_BEGIN, vid: first }, { flags: flag.RANGE_END, vid: last });
  }
  return ranges;
}

/** What the kernel shows of a port: `all` also has VLANs that a configuration here cannot ask for. */
export interface FoundVlans extends PortVlans {
  readonly all: ReadonlySet<number>;
}

/** What the entries of one port say. */
export function portVlansOf(entries: readonly VlanInfo[]): FoundVlans {
  const tagged: number[] = [];
  const all = new Set<number>();
  let native: number | undefined;
  let begin: number | undefined;
  for (const { flags, vid } of entries) {
    if (flags & flag.RANGE_BEGIN) {
      begin = vid;
      continue;
    }
    for (let v = begin ?? vid; v <= vid; v++) {
      all.add(v);
      if (flags & flag.PVID && flags & flag.UNTAGGED) native = v;
      else if ((flags & (flag.PVID | flag.UNTAGGED)) === 0) tagged.push(v);
    }
    begin = undefined;
  }
  return { ...(native === undefined ? {} : { native }), tagged, all };
}

/** Puts a port of a bridge into these VLANs, beside those that it is in; the native one replaces another. */
export function addPortVlans(socket: NetlinkSocket, index: number, { native, tagged }: PortVlans): void {
  const own = native === undefined ? [] : [{ flags: flag.PVID | flag.UNTAGGED, vid: native }];
  const spec = { vlans: [...own, ...rangesOf(tagged)] };
  socket.request({ ...request(RTM.SETLINK, index, { spec }), what: `RTM_SETLINK #${index} (VLANs)` });
}

/** Takes a port of a bridge out of every VLAN. */
export function clearPortVlans(socket: NetlinkSocket, index: number): void {
  const vlans = [
    { flags: flag.RANGE_BEGIN, vid: VLAN_MIN },
    { flags: flag.RANGE_END, vid: VLAN_MAX },
  ];
  const what = `RTM_DELLINK #${index} (VLANs)`;
  socket.request({ ...request(RTM.DELLINK, index, { spec: { vlans } }), what });
}

/** The VLANs of every port of the bridge `master`, by the port's index. */
export function listPortVlans(socket: NetlinkSocket, master: number): ReadonlyMap<number, FoundVlans> {
  const all = new Map(listVlans(socket, master));
  all.delete(master);
  return all;
}

/** As `listPortVlans`, with those that the bridge itself is in as a port of its own. */
export function listVlans(socket: NetlinkSocket, master: number): ReadonlyMap<number, FoundVlans> {
  const ports = new Map<number, FoundVlans>();
  const ask = request(RTM.GETLINK, 0, { extMask: COMPRESSED });
  for (const { body } of socket.dump({ ...ask, flags: NLM_F.DUMP, what: "RTM_GETLINK all (VLANs)" })) {
    const { index } = ifinfomsg.get(viewOf(body), 0);
    const found = portAttrs.decode(body.subarray(ifinfomsg.size));
    if (found.master === master) ports.set(index, portVlansOf(found.spec?.vlans ?? []));
  }
  return ports;
}
