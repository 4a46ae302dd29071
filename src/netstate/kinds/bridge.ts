import { NetError } from "../../errors.ts";
import { isZeroMac } from "../../net/mac.ts";
import { addAltName, createBridge, findLink, type Link, removeLink, setLink } from "../../rtnl/link.ts";
import { tryWriteSysctl } from "../../sys/sysctl.ts";
import { readText } from "../../sys/files.ts";
import {
  type ApplyContext,
  type Context,
  expectSame,
  indexKey,
  type KindOperations,
  linkOf,
} from "../context.ts";
import type { BridgeObject } from "../model.ts";

/** The facts that a plan was made from no longer hold; it has to be made again. Never leaves the attach loop. */
export class StaleFacts extends Error {
  override readonly name = "StaleFacts";
  constructor() {
    super("the bridge has changed since this was planned");
  }
}

/** NET_ADDR_SET (linux/netdevice.h). */
const ADDRESS_WAS_SET = "3";

/**
 * False for a bridge that was made without an address, as `ip link add` does: it takes that of one of its ports, so that
 * it changes as containers come and go. Only sysfs tells; where it shows another namespace, an address is set again.
 */
function hasFixedMac(name: string): boolean {
  try {
    return readText(`/sys/class/net/${name}/addr_assign_type`).trim() === ADDRESS_WAS_SET;
  } catch {
    return false;
  }
}

/** Before a bridge comes up for the first time, also one whose maker was killed before this. */
function prepare(o: BridgeObject): void {
  // The host must not take routes from what containers advertise to it.
  tryWriteSysctl(`net/ipv6/conf/${o.name}/accept_ra`, "0");
  // Until its link-local address is certain, the host forwards no IPv6 to a container: that would be two seconds.
  if (o.dad === false) tryWriteSysctl(`net/ipv6/conf/${o.name}/accept_dad`, "0");
}

function apply(o: BridgeObject, context: ApplyContext): void {
  const {
    indexes,
    mark,
    spaces: { host },
  } = context;
  let link = findLink(host, { name: o.name });
  const found = link !== undefined;
  if (link === undefined) {
    // Before it is there: the kernel may make it and its answer be lost.
    if (o.possession === "exclusive") context.undo.defer(() => remove(o, context));
    try {
      createBridge(host, o);
    } catch (e) {
      const errno = e instanceof NetError && e.is("netlink/refused") ? e.detail.errno : undefined;
      // Another ADD made it at the same time, with another address than this plan says.
      if (errno === "EEXIST") throw new StaleFacts();
      if (errno === "EOPNOTSUPP" && o.vlanFiltering)
        throw new NetError(
          "feature/missing",
          {
            feature: "VLAN filtering of bridges",
            needs: "a kernel with CONFIG_BRIDGE_VLAN_FILTERING",
          },
          { cause: e },
        );
      throw e;
    }
    if (o.possession === "exclusive") addAltName(host, { name: o.name }, mark);
    link = findLink(host, { name: o.name });
    if (link === undefined) throw new StaleFacts();
  }
  requireBridge(link);
  // Somebody else's, made since the plan.
  if (o.possession === "exclusive" && !link.altNames.includes(mark)) throw new StaleFacts();
  const bare = link.mac !== undefined && isZeroMac(link.mac);
  if (!bare && link.mac !== o.mac) throw new StaleFacts();
  // Somebody else's, made since the plan; the next one says what is wrong with it.
  if (o.vlanFiltering && !link.bridge?.vlanFiltering) throw new StaleFacts();
  if (!link.up) prepare(o);
  if (found && (bare || !hasFixedMac(o.name))) setLink(host, { index: link.index }, { mac: o.mac });
  const promiscuous = o.promiscuous && !link.promiscuous;
  if (!link.up || promiscuous)
    setLink(host, { index: link.index }, { up: true, ...(promiscuous ? { promiscuous } : {}) });
  indexes.set(indexKey("host", o.name), link.index);
}

/** @throws NetError `resource/exists` if the link that has a bridge's name is something else */
export function requireBridge({ name, kind }: Pick<Link, "name" | "kind">): void {
  if (kind !== "bridge")
    throw new NetError("resource/exists", { what: `a link ${name} that is not a bridge`, where: "the host" });
}

function verify(o: BridgeObject, context: Context): void {
  const link = linkOf(context, "host", o.name);
  expectSame(`kind of ${o.name}`, "bridge", link.kind ?? "none");
  expectSame(`MAC address of ${o.name}`, o.mac, link.mac ?? "none");
  expectSame(`${o.name} is up`, true, link.up);
  if (o.promiscuous) expectSame(`${o.name} is promiscuous`, true, link.promiscuous);
  if (o.vlanFiltering) expectSame(`${o.name} filters VLANs`, true, link.bridge?.vlanFiltering ?? false);
}

/**
 * Removes an exclusive one by its mark; or by its name, if its maker was killed before it could set the mark: then it has
 * the address that was drawn for it.
 */
function remove(o: BridgeObject, { mark, spaces: { host } }: Context): void {
  if (o.possession === "shared" || removeLink(host, { altName: mark })) return;
  const link = findLink(host, { name: o.name });
  if (link?.kind === "bridge" && link.mac === o.mac && link.altNames.length === 0)
    removeLink(host, { index: link.index });
}

export const bridge: KindOperations<BridgeObject> = { apply, verify, remove };
