import { NetError } from "../../errors.ts";
import { localMac } from "../../net/mac.ts";
import type { NetlinkSocket } from "../../netlink/socket.ts";
import { addPortVlans, clearPortVlans, listPortVlans } from "../../rtnl/bridge-vlan.ts";
import {
  addAltName,
  createVeth,
  findLink,
  getLink,
  type Link,
  removeLink,
  setLink,
} from "../../rtnl/link.ts";
import { tryWriteSysctl } from "../../sys/sysctl.ts";
import {
  type ApplyContext,
  type Context,
  expectSame,
  indexKey,
  type KindOperations,
  linkOf,
} from "../context.ts";
import { lockHost } from "../host-lock.ts";
import type { VlanGatewayObject } from "../model.ts";
import { vethName } from "../owner.ts";
import { StaleFacts } from "./bridge.ts";
import { waitForwarding } from "./veth.ts";

/**
 * The host's interface in a VLAN of a bridge. It goes with the last port in the VLAN: whoever needs it makes the port
 * before, and both the look whether it is there and the look whether anybody is left happen under one lock, so that
 * nobody loses it. One that another program made is used, and never removed.
 */
type Gateway = Pick<VlanGatewayObject, "name" | "bridge" | "vlan">;

/** The altname of one that was made here, set when it is complete. */
const markOf = ({ name }: Gateway): string => `heddle-vlan-gateway-${name}`;
const portOf = (o: Gateway): string => vethName(markOf(o));

function apply(o: VlanGatewayObject, context: ApplyContext): void {
  const { host } = context.spaces;
  using _lock = lockHost("vlan-gateway");
  context.undo.defer(() => remove(o, context));
  let link = findLink(host, { name: o.name });
  if (link === undefined) {
    create(o, host);
    link = getLink(host, { name: o.name });
  }
  // Somebody has made it since the plan, with another address.
  if (link.mac !== o.mac) throw new StaleFacts();
  const port = otherEnd(host, link);
  if (link.kind === "veth" && port?.name === portOf(o)) {
    if (!link.altNames.includes(markOf(o))) complete(o, context, port);
  } else if (link.kind !== "vlan" && port?.master !== getLink(host, { name: o.bridge }).index) {
    throw new NetError("resource/exists", {
      what: `a link ${o.name} that leads to no VLAN of ${o.bridge}`,
      where: "the host",
    });
  }
  if (!link.up) {
    tryWriteSysctl(`net/ipv6/conf/${o.name}/accept_ra`, "0");
    if (o.dad === false) tryWriteSysctl(`net/ipv6/conf/${o.name}/accept_dad`, "0");
    setLink(host, { index: link.index }, { up: true });
    if (port?.name === portOf(o))
      waitForwarding({ host: port, port: { bridge: o.bridge, hairpin: false, isolated: false } }, context);
  }
  context.indexes.set(indexKey("host", o.name), link.index);
}

const otherEnd = (host: NetlinkSocket, { peerIndex }: Link): Link | undefined =>
  peerIndex === undefined ? undefined : findLink(host, { index: peerIndex });

function create(o: VlanGatewayObject, host: NetlinkSocket): void {
  const mtu = o.mtuBytes ? { mtuBytes: o.mtuBytes } : {};
  const mac = localMac(crypto.getRandomValues(new Uint8Array(6)));
  createVeth(host, { name: portOf(o), mac, ...mtu }, { name: o.name, mac: o.mac, ...mtu });
}

/** Also what a killed ADD left half made. */
function complete(o: VlanGatewayObject, { spaces: { host } }: ApplyContext, { index }: Link): void {
  setLink(host, { index }, { master: getLink(host, { name: o.bridge }).index, up: true });
  if (!o.keepDefault) clearPortVlans(host, index);
  addPortVlans(host, index, { native: o.vlan, tagged: [] });
  addAltName(host, { name: o.name }, markOf(o));
}

function verify(o: VlanGatewayObject, context: Context): void {
  const { host } = context.spaces;
  const link = linkOf(context, "host", o.name);
  expectSame(`MAC address of ${o.name}`, o.mac, link.mac ?? "none");
  expectSame(`${o.name} is up`, true, link.up);
  if (link.kind === "vlan") return;
  const { index } = linkOf(context, "host", o.bridge);
  const port = otherEnd(host, link);
  const found = port && listPortVlans(host, index).get(port.index);
  expectSame(`VLAN of ${o.name}`, o.vlan, found?.native ?? "none");
}

/**
 * Removes the gateway if no port of the bridge, `except` this one, is in its VLAN any more. Nothing happens to one that
 * another program made.
 */
export function removeIdleGateway(host: NetlinkSocket, o: Gateway, except?: string): void {
  using _lock = lockHost("vlan-gateway");
  const link = findLink(host, { name: o.name });
  if (link?.kind !== "veth") return;
  const port = otherEnd(host, link);
  if (port?.name !== portOf(o)) return;
  const bridge = findLink(host, { name: o.bridge });
  const own = except === undefined ? undefined : findLink(host, { name: except });
  const ports = bridge === undefined ? new Map() : listPortVlans(host, bridge.index);
  for (const [index, { all }] of ports)
    if (index !== port.index && index !== own?.index && all.has(o.vlan)) return;
  removeLink(host, { index: link.index });
}

const remove = (o: VlanGatewayObject, { spaces: { host } }: Context): void =>
  removeIdleGateway(host, o, o.port);

export const vlanGateway: KindOperations<VlanGatewayObject> = { apply, verify, remove };
