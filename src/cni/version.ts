/**
 * The versions of the CNI specification: which there are, how their text is read and compared, and which one a
 * configuration and a program agree on. Knows nothing of results; that is `result-codec.ts`.
 */
import { NetError } from "../errors.ts";
import { bad, good, type Parsed } from "../net/brand.ts";

/** Every version of the CNI specification that has a result format, oldest first. */
export const versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;
export type Version = (typeof versions)[number];

/** The newest version that this program speaks. */
export const newestVersion: Version = "1.1.0";
/** What a configuration without a version means. */
export const oldestVersion: Version = "0.1.0";

/** Major, minor and micro number. */
export type VersionNumbers = readonly [number, number, number];

/** Reads one to three numbers with dots between; nothing at all is 0.1.0. A suffix such as `-rc1` is refused. */
export function parseVersion(text: string): Parsed<VersionNumbers> {
  const parts = (text === "" ? oldestVersion : text).split(".");
  if (parts.length > 3 || !parts.every((p) => /^\d{1,9}$/.test(p)))
    return bad(`"${text}" is not a version of one to three numbers`);
  const [major = 0, minor = 0, micro = 0] = parts.map(Number);
  return good([major, minor, micro]);
}

/** Less than zero, zero or more than zero, as `a` is older than, as old as or newer than `b`. */
export function compareVersionNumbers(a: VersionNumbers, b: VersionNumbers): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
}

/** As `compareVersionNumbers`, for versions that are known: their order in the list is their age. */
export const compareVersions = (a: Version, b: Version): number => versions.indexOf(a) - versions.indexOf(b);

export const atLeast = (version: Version, least: Version): boolean => compareVersions(version, least) >= 0;

/** The known version of exactly this text (nothing is 0.1.0), else undefined: `1.0` is not `1.0.0`. */
export const knownVersion = (text: string): Version | undefined =>
  text === "" ? oldestVersion : versions.find((v) => v === text);

/**
 * The version of `text` if it is one of `supported`, which must list it exactly.
 * @throws version/incompatible
 */
export function reconcile(text: string, supported: readonly Version[] = versions): Version {
  const version = knownVersion(text);
  if (version === undefined || !supported.includes(version))
    throw new NetError("version/incompatible", { wanted: text, supported });
  return version;
}

/**
 * The highest version that the configuration offers (`cniVersion` and `cniVersions` together) and we speak.
 * What is newer than us is passed over, as the specification of 1.1.0 asks.
 * @throws decode/malformed for text that is no version, version/incompatible if nothing is left
 */
export function highestCommon(cniVersion: string | undefined, cniVersions: readonly string[]): Version {
  const offered =
    cniVersion === undefined && cniVersions.length > 0 ? cniVersions : [cniVersion ?? "", ...cniVersions];
  for (const text of offered) {
    const parsed = parseVersion(text);
    if (!parsed.ok) throw new NetError("decode/malformed", { what: "cniVersion", why: parsed.why });
  }
  const common = offered.map(knownVersion).filter((v) => v !== undefined);
  const best = common.toSorted(compareVersions).at(-1);
  if (best === undefined)
    throw new NetError("version/incompatible", { wanted: offered.join(", "), supported: versions });
  return best;
}
