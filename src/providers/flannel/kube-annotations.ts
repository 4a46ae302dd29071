/**
 * What a host tells of itself in the annotations of its node, with the names, values and omissions of flanneld, so that both
 * read one another. Everyone who may write to nodes may write there: it is read with suspicion.
 */
import { parseJson } from "../../cni/json.ts";
import { NetError } from "../../errors.ts";
import type { BackendData, Json, Publics } from "../../fabric/model.ts";
import { bad, good, type Parsed } from "../../net/brand.ts";
import { type Family, type Ip, isUnspecified, parseIp } from "../../net/ip.ts";
import { DATA_LIMIT, jsonText } from "./lease-codec.ts";
import type { Announcement } from "./registry.ts";

/** What annotations begin with unless told otherwise, as with flanneld's `--kube-annotation-prefix`. */
export const ANNOTATION_PREFIX = "flannel.alpha.coreos.com";

const suffixes = {
  managed: "kube-subnet-manager",
  type: "backend-type",
  data4: "backend-data",
  data6: "backend-v6-data",
  public4: "public-ip",
  public6: "public-ipv6",
  /** Written by people: what is announced in place of the address that was found. */
  overwrite4: "public-ip-overwrite",
  overwrite6: "public-ipv6-overwrite",
  /** Written by people: what `--public-ip` would say on this node. */
  node4: "node-public-ip",
  node6: "node-public-ipv6",
} as const;

/** The names of the annotations, each with its prefix. */
export type AnnotationNames = { readonly [K in keyof typeof suffixes]: string };

/** Those that a host writes; it owns them, and takes them away when it leaves. */
const OWN = ["managed", "type", "data4", "data6", "public4", "public6"] as const;

export type Annotations = Readonly<Record<string, string>>;

/**
 * The names with a prefix: a domain; or a domain, a slash and how the names begin.
 * @throws config/invalid
 */
export function annotationNames(prefix: string): AnnotationNames {
  const whole = !prefix.includes("/") ? `${prefix}/` : /[/-]$/.test(prefix) ? prefix : `${prefix}-`;
  if (!/^(?:[a-z0-9_-]+\.)+[a-z0-9_-]+\/(?:[a-z0-9_-]+-)?$/.test(whole))
    throw new NetError("config/invalid", {
      field: "kube-annotation-prefix",
      why: `"${prefix}" is neither a domain, as ${ANNOTATION_PREFIX}, nor one with a slash and a word`,
    });
  return Object.fromEntries(
    Object.entries(suffixes).map(([key, suffix]) => [key, whole + suffix]),
  ) as AnnotationNames;
}

/** What a host writes; `undefined` for what it takes away. */
export type Written = Readonly<Record<string, string | undefined>>;

/**
 * The annotations of an announcement. What people have written on the node, in `public-ip-overwrite` or `node-public-ip`, is
 * announced in place of the address.
 * @throws config/invalid if that is no address
 */
export function writtenOf(names: AnnotationNames, wanted: Announcement, current: Annotations): Written {
  const { publics, backend } = wanted;
  const own = nodePublics(names, current);
  const overwritten = (key: "overwrite4" | "overwrite6", family: Family): Ip | undefined =>
    ipOfPeople(names[key], current, family) ?? own[family === 4 ? "v4" : "v6"];
  const v4 = backend.type !== "vxlan" || isThere(backend.v4);
  const v6 = publics.v6 !== undefined && tellsIpv6(backend, publics);
  return {
    [names.managed]: "true",
    [names.type]: backend.type,
    [names.data4]: v4 ? dataText(backend.v4, backend) : undefined,
    // flanneld has zeros for an address that is none.
    [names.public4]: v4 ? ((overwritten("overwrite4", 4) ?? publics.v4)?.text ?? "0.0.0.0") : undefined,
    [names.data6]: v6 ? jsonText(backend.v6 ?? null) : undefined,
    [names.public6]: v6 ? (overwritten("overwrite6", 6) ?? publics.v6)?.text : undefined,
  };
}

const isThere = (data: Json | undefined): boolean => data !== undefined && data !== null;

/** What flanneld writes where there is nothing: `null`, and nothing at all for `extension`. */
const dataText = (data: Json | undefined, { type }: BackendData): string =>
  data === undefined && type === "extension" ? "" : jsonText(data ?? null);

/** Whether a host writes the annotations of IPv6, too. Those of `udp` and `alloc`, which name no backend, are ours alone. */
function tellsIpv6({ type, v6 }: BackendData, publics: Publics): boolean {
  switch (type) {
    case "vxlan":
    case "wireguard":
      return isThere(v6);
    case "host-gw":
    case "extension":
      return true;
    case "":
      return isThere(v6) || publics.v4 === undefined;
    default:
      return false;
  }
}

/** The annotations of a host that leaves. */
export const nothingWritten = (names: AnnotationNames): Written =>
  Object.fromEntries(OWN.map((key) => [names[key], undefined]));

/** What of it is not there yet, for a merge patch: `null` takes away. Undefined if all is. */
export function difference(
  written: Written,
  current: Annotations,
): Readonly<Record<string, string | null>> | undefined {
  const changes = Object.entries(written).filter(([key, value]) => current[key] !== value);
  if (changes.length === 0) return undefined;
  return Object.fromEntries(changes.map(([key, value]) => [key, value ?? null]));
}

/** True of a host that is a part of the network. */
export const isManaged = (names: AnnotationNames, current: Annotations): boolean =>
  current[names.managed] === "true";

/** What a host tells of itself. */
export function readAnnouncement(names: AnnotationNames, current: Annotations): Parsed<Announcement> {
  const v4 = publicOf(current, names.public4, 4);
  const v6 = publicOf(current, names.public6, 6);
  const data4 = dataOf(current, names.data4);
  const data6 = dataOf(current, names.data6);
  for (const part of [v4, v6, data4, data6]) if (!part.ok) return part;
  const type = current[names.type] ?? "";
  if (type.length > 64) return bad(`${names.type} is no name`);
  if (!(v4.ok && v6.ok && data4.ok && data6.ok)) return bad("it cannot be read");
  const publics: Publics = { ...(v4.value && { v4: v4.value }), ...(v6.value && { v6: v6.value }) };
  if (publics.v4 === undefined && publics.v6 === undefined) return bad("it has no public address");
  return good({
    publics,
    backend: {
      type,
      ...(data4.value === undefined ? {} : { v4: data4.value }),
      ...(data6.value === undefined ? {} : { v6: data6.value }),
    },
  });
}

/** What somebody has written on a node to be announced by it, as `--public-ip` and `--public-ipv6` do. @throws config/invalid */
export function nodePublics(names: AnnotationNames, current: Annotations): Publics {
  const v4 = ipOfPeople(names.node4, current, 4);
  const v6 = ipOfPeople(names.node6, current, 6);
  return { ...(v4 && { v4 }), ...(v6 && { v6 }) };
}

function ipOfPeople(name: string, current: Annotations, family: Family): Ip | undefined {
  const text = current[name] ?? "";
  const ip = text === "" ? good(undefined) : ipOf(text, family);
  if (!ip.ok) throw new NetError("config/invalid", { field: `annotation ${name}`, why: ip.why });
  return ip.value;
}

function publicOf(current: Annotations, name: string, family: Family): Parsed<Ip | undefined> {
  const text = current[name] ?? "";
  if (text === "") return good(undefined);
  const ip = ipOf(text, family);
  if (!ip.ok) return bad(`${name}: ${ip.why}`);
  // What flanneld writes for a family that it does not use.
  return good(isUnspecified(ip.value) ? undefined : ip.value);
}

function ipOf(text: string, family: Family): Parsed<Ip> {
  const ip = parseIp(text.slice(0, 64));
  return !ip.ok || ip.value.family === family ? ip : bad(`${ip.value.text} is not of IPv${family}`);
}

/** `null` is what flanneld writes for a backend that tells nothing. */
function dataOf(current: Annotations, name: string): Parsed<Json | undefined> {
  const text = current[name] ?? "";
  if (text === "") return good(undefined);
  if (text.length > DATA_LIMIT) return bad(`${name} is longer than ${DATA_LIMIT} characters`);
  try {
    const value = parseJson(text, name) as Json;
    return good(value ?? undefined);
  } catch (e) {
    if (e instanceof NetError) return bad(e.message);
    throw e;
  }
}
