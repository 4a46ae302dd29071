/**
 * The few objects that everything else stands on: links, kernel parameters, addresses. They are compared one by one whenever
 * everything is; a link that is there and fits is taken over, whoever made it.
 */
import { isNetError, NetError } from "../../errors.ts";
import { addAddress, listAddresses, removeAddress } from "../../rtnl/address.ts";
import { changeLinkType, createLink } from "../../rtnl/create-link.ts";
import { type LinkType, linkTypeOf } from "../../rtnl/kinds.ts";
import { addAltName, getLink, type Link, listLinks, removeLink, setLink } from "../../rtnl/link.ts";
import { unlessErrno } from "../../sys/files.ts";
import { sameSysctlValue } from "../../sys/sysctl.ts";
import type { FabricAddress, FabricLink, FabricSysctl, HostState } from "../host-state.ts";
import { type KnownLinks, type Owner, type Place } from "./place.ts";
import type { Change, ObjectName } from "./report.ts";

/** How each step tells what became of an object. */
export interface Notes {
  /** Does it if it may be done now; a refusal is noted. Undefined if it was not done. */
  attempt<T>(name: ObjectName, work: () => T): T | undefined;
  changed(name: ObjectName, action: Change["action"]): void;
  /** An object cannot be made before another one is there. */
  waits(): void;
}

/** What altnames begin with by which a link is known again when nobody wants it any longer. */
const MARK = "heddle-fabric-";
const markOf = ({ name }: Owner, link: string): string => `${markPrefix(name)}${link}`;
const markPrefix = (owner: string): string => `${MARK}${owner}-`;

/** Makes and mends links. Returns what there is then. Links of ours that nobody wants are removed by `removeLinks`. */
export function mendLinks(
  place: Place,
  owner: Owner,
  wanted: readonly FabricLink[],
  notes: Notes,
): KnownLinks {
  const there = new Map(listLinks(place.socket).map((link) => [link.name, link]));
  const ours = new Map<number, string>();
  for (const want of wanted) {
    const name = { object: "link", key: want.name } as const;
    const link = notes.attempt(name, () => mendLink(place, owner, want, there, notes));
    if (link === undefined) there.delete(want.name);
    else {
      there.set(want.name, link);
      ours.set(link.index, want.name);
    }
  }
  // One that is to go is still ours: so are its routes.
  for (const link of there.values()) if (isMarked(link, owner)) ours.set(link.index, link.name);
  return { byName: there, ours };
}

/** That of `flannel-2` on `flannel.1` is not one of `flannel` on `2-flannel.1`. A link may have been renamed. */
const isMarked = ({ name: link, altNames }: Link, { name }: Owner): boolean =>
  altNames.some(
    (altName) =>
      altName.startsWith(markPrefix(name)) && !altName.slice(markPrefix(name).length).endsWith(`-${link}`),
  );

const isAnothers = (link: Link, owner: Owner): boolean =>
  !isMarked(link, owner) && link.altNames.some((altName) => altName.startsWith(MARK));

function mendLink(
  { socket }: Place,
  owner: Owner,
  want: FabricLink,
  there: ReadonlyMap<string, Link>,
  notes: Notes,
): Link {
  const name = { object: "link", key: want.name } as const;
  const type = resolvedType(want, there);
  const mark = markOf(owner, want.name);
  const before = there.get(want.name);
  if (before !== undefined && isAnothers(before, owner))
    throw new NetError("resource/exists", {
      what: `the link ${want.name}, which is another fabric's,`,
      where: "this host",
    });
  const kept = before !== undefined && fits(type, before) ? before : undefined;
  if (kept === undefined) {
    if (before !== undefined) {
      if (before.kind !== type.kind && !before.altNames.includes(mark))
        throw new NetError("resource/exists", {
          what: `a link ${want.name} of the kind ${before.kind ?? "device"}, not ${type.kind}`,
          where: "this host",
        });
      removeLink(socket, { index: before.index });
    }
    makeLink(socket, want, type);
    addAltName(socket, { name: want.name }, mark);
    notes.changed(name, before === undefined ? "added" : "replaced");
    return getLink(socket, { name: want.name });
  }
  const mended = mendInPlace(socket, want, type, kept);
  if (!kept.altNames.includes(mark)) {
    addAltName(socket, { index: kept.index }, mark);
    notes.changed(name, "adopted");
  } else if (mended) notes.changed(name, "repaired");
  return mended ? getLink(socket, { index: kept.index }) : kept;
}

function makeLink(socket: Place["socket"], { name, mtuBytes, mac }: FabricLink, type: LinkType): void {
  try {
    createLink(socket, { name, type, mtuBytes, up: true, ...(mac ? { mac } : {}) });
  } catch (e) {
    if (!isNetError(e, "netlink/refused") || e.detail.errno !== "EOPNOTSUPP") throw e;
    const feature = `the kind ${type.kind} of links`;
    const needs = `the kernel's module ${type.kind} (modprobe ${type.kind})`;
    throw new NetError("feature/missing", { feature, needs }, { cause: e });
  }
}

/** The type with the index of the link below, where it is a parameter. */
function resolvedType({ name, type, lower }: FabricLink, there: ReadonlyMap<string, Link>): LinkType {
  if (lower === undefined) return type;
  const index = there.get(lower)?.index;
  if (index === undefined)
    throw new NetError("netlink/refused", { request: `${name} on the link ${lower}`, errno: "ENODEV" });
  return type.kind === "vxlan" || type.kind === "ipip" ? { ...type, lower: index } : type;
}

/** What can be changed without making a link anew. */
const changeable: readonly string[] = ["learning"];

/** True if the link is of the type in everything that is wanted and cannot be changed. */
function fits(type: LinkType, link: Link): boolean {
  const found = linkTypeOf(link);
  if (found?.kind !== type.kind) return false;
  return differences(type, found).every((key) => changeable.includes(key));
}

function differences(wanted: LinkType, found: LinkType): readonly string[] {
  const has = new Map<string, unknown>(Object.entries(found));
  return Object.entries(wanted).flatMap(([key, value]) => (Bun.deepEquals(has.get(key), value) ? [] : [key]));
}

/** True if something was changed. */
function mendInPlace(socket: Place["socket"], want: FabricLink, type: LinkType, link: Link): boolean {
  const found = linkTypeOf(link);
  const ref = { index: link.index };
  const other = found !== undefined && differences(type, found).length > 0;
  if (other) changeLinkType(socket, link.index, type, changeable);
  const change = {
    ...(want.mac && want.mac !== link.mac ? { mac: want.mac } : {}),
    ...(want.mtuBytes === link.mtuBytes ? {} : { mtuBytes: want.mtuBytes }),
    ...(link.up ? {} : { up: true }),
  };
  if (Object.keys(change).length === 0) return other;
  setLink(socket, ref, change);
  return true;
}

/** How a pod that is not privileged finds its /proc/sys. */
const NOT_WRITABLE = ["EROFS", "EACCES"];

/** Sets kernel parameters that are not as they are wanted. */
export function mendSysctls(place: Place, wanted: readonly FabricSysctl[], notes: Notes): void {
  for (const { key, value, optional } of wanted) {
    const name = { object: "sysctl", key } as const;
    notes.attempt(name, () => {
      const before = place.readSysctl(key);
      if (sameSysctlValue(before, value)) return;
      const write = (): boolean => before !== undefined && place.writeSysctl(key, value);
      const isWritten = unlessErrno(optional === true ? NOT_WRITABLE : [], write) ?? false;
      if (isWritten) notes.changed(name, "replaced");
      else if (optional !== true)
        throw new NetError("feature/missing", {
          feature: `the kernel parameter ${key}`,
          needs: "a kernel that has it",
        });
    });
  }
}

/**
 * Brings up links that get an address and are another program's to make, as the device of a process: one that is down takes
 * no route, whether it was made this moment or somebody set it down.
 */
export function raiseLinks(
  { socket }: Place,
  { byName, ours }: KnownLinks,
  addresses: readonly FabricAddress[],
  notes: Notes,
): void {
  for (const key of new Set(addresses.map(({ link }) => link))) {
    const link = byName.get(key);
    if (link === undefined || ours.has(link.index)) continue;
    const name = { object: "link", key } as const;
    notes.attempt(name, () => {
      if (link.up) return;
      setLink(socket, { index: link.index }, { up: true });
      byName.set(key, { ...link, up: true });
      notes.changed(name, "added");
    });
  }
}

/**
 * Adds addresses, then removes what else somebody has given to the same links, and to those of ours, unless it is to `keep`. A link that gets an
 * address of the fabric is the fabric's, even if somebody else makes it, as the device of a process.
 */
export function mendAddresses(
  { socket }: Place,
  links: KnownLinks,
  wanted: readonly FabricAddress[],
  notes: Notes,
  keep: boolean,
): void {
  const names = new Map(links.ours);
  for (const { link } of wanted) {
    const index = links.byName.get(link)?.index;
    if (index !== undefined) names.set(index, link);
  }
  const found = listAddresses(socket).flatMap((address) => {
    const link = names.get(address.index);
    return link === undefined ? [] : [{ ...address, key: `${address.prefix.text} ${link}` }];
  });
  const has = new Set(found.map(({ key }) => key));
  const wants = new Set<string>();
  for (const { link, address } of wanted) {
    const key = `${address.text} ${link}`;
    const name = { object: "address", key } as const;
    wants.add(key);
    const index = links.byName.get(link)?.index;
    if (index === undefined) notes.waits();
    else if (!has.has(key))
      notes.attempt(name, () => {
        if (addAddress(socket, index, address, { dad: false, connectedRoute: true }))
          notes.changed(name, "added");
      });
  }
  if (keep) return;
  for (const { index, prefix, linkLocal, permanent, key } of found) {
    if (linkLocal || !permanent || wants.has(key)) continue;
    const name = { object: "address", key } as const;
    notes.attempt(name, () => {
      if (removeAddress(socket, index, prefix)) notes.changed(name, "removed");
    });
  }
}

/** Removes links of ours that nobody wants any longer. */
export function removeLinks(
  { socket }: Place,
  links: KnownLinks,
  wanted: HostState["links"],
  notes: Notes,
): void {
  const names = new Set(wanted.map(({ name }) => name));
  for (const [index, key] of links.ours) {
    if (names.has(key)) continue;
    const name = { object: "link", key } as const;
    notes.attempt(name, () => {
      if (removeLink(socket, { index })) notes.changed(name, "removed");
      links.ours.delete(index);
      links.byName.delete(key);
    });
  }
}
