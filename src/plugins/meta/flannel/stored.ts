import { foldKeys, isObject, type JsonObject, parseJson, withoutKeys } from "../../../cni/json.ts";
import type { PluginConf } from "../../../cni/list.ts";
import type { AttachmentKey } from "../../../cni/plugin.ts";
import { NetError } from "../../../errors.ts";
import {
  listDir,
  makeDirs,
  O,
  putText,
  readText,
  removeIfThere,
  renameFile,
  unlessErrno,
} from "../../../sys/files.ts";

/**
 * What each attachment's delegate was given, kept until DEL, since the host's subnet may be another one by then. The files are
 * those of the original plugin: named by the container, the configuration inside, for root alone. A container's second
 * interface gets a file of its own, with the interface behind a colon, which no container's name has.
 */
export interface Stored {
  readonly path: string;
  readonly containerId: string;
  /** Absent in what the original plugin wrote. */
  readonly ifname?: string;
  /** The name of the network; absent if the file does not say. */
  readonly network?: string;
  /** Absent if the content cannot be read. */
  readonly delegate?: PluginConf;
  /** The content as it is. */
  readonly text: string;
}

/** The key in the file that is ours, not the delegate's. */
const OWN = "heddle";

/** An attachment of a network, and the directory where its file is. */
export interface Place extends AttachmentKey {
  readonly dir: string;
  readonly network: string;
}

const plainPath = ({ dir, containerId }: Place): string => `${dir}/${containerId}`;
const secondPath = (of: Place): string => `${plainPath(of)}:${of.ifname}`;

/** The file of the attachment; undefined if there is none. */
export function findStored(of: Place): Stored | undefined {
  const second = readStored(secondPath(of), of);
  if (second !== undefined) return second;
  const plain = readStored(plainPath(of), of);
  return plain !== undefined && isOf(plain, of) ? plain : undefined;
}

const isOf = (stored: Stored, { network, ifname }: Place): boolean =>
  stored.ifname === undefined
    ? stored.network === undefined || stored.network === network
    : stored.ifname === ifname;

/** Where the file of an attachment without one is to be, beside those of the container's other interfaces. */
export const freePath = (of: Place): string =>
  readStored(plainPath(of), of) === undefined ? plainPath(of) : secondPath(of);

/** Keeps what the delegate is given. */
export const store = (of: Place, path: string, { raw }: PluginConf): void =>
  putBack(of, path, JSON.stringify({ ...raw, [OWN]: { ifname: of.ifname } }));

/** Writes the file, which is whole or as it was, also after a kill. */
export function putBack(of: Place, path: string, content: string): void {
  makeDirs(of.dir, 0o700);
  const pending = pendingPath(of);
  try {
    putText(pending, content, O.CREAT | O.TRUNC | O.NOFOLLOW, 0o600);
    renameFile(pending, path);
  } catch (e) {
    removeIfThere(pending);
    throw e;
  }
}

/** Of files before they have their names. GC of another network must not take one for left over. */
const pendingPrefix = (network: string): string => `.${Bun.hash.wyhash(network).toString(16)}:`;
const pendingPath = ({ dir, network, containerId, ifname }: Place): string =>
  `${dir}/${pendingPrefix(network)}${containerId}:${ifname}`;

/** Removes what a killed ADD of the attachment has begun to keep. */
export const forgetPending = (of: Place): void =>
  void unlessErrno(["ENOTDIR"], () => removeIfThere(pendingPath(of)));

/** As `forgetPending`, of all attachments of the network that are not valid. */
export function forgetAllPending(dir: string, network: string, valid: readonly AttachmentKey[]): void {
  const prefix = pendingPrefix(network);
  const kept = new Set(valid.map((key) => pendingPath({ dir, network, ...key })));
  for (const { name } of namesIn(dir))
    if (name.startsWith(prefix) && !kept.has(`${dir}/${name}`)) removeIfThere(`${dir}/${name}`);
}

export const forget = ({ path }: Pick<Stored, "path">): void => void removeIfThere(path);

const namesIn = (dir: string): ReturnType<typeof listDir> =>
  unlessErrno(["ENOENT", "ENOTDIR"], () => listDir(dir)) ?? [];

/** Every file of the directory that is an attachment's. */
export const listStored = (dir: string): readonly Stored[] =>
  namesIn(dir).flatMap(({ name, isFile }) => {
    const [, containerId, ifname] = /^([a-zA-Z0-9][\w.-]*)(?::([^:]+))?$/.exec(name) ?? [];
    if (!isFile || containerId === undefined) return [];
    const found = readStored(`${dir}/${name}`, { containerId });
    return found === undefined ? [] : [ifname === undefined ? found : { ...found, ifname }];
  });

function readStored(path: string, { containerId }: Pick<AttachmentKey, "containerId">): Stored | undefined {
  const content = unlessErrno(["ENOENT", "ENOTDIR", "ELOOP"], () => readText(path, O.NOFOLLOW));
  return content === undefined ? undefined : { path, containerId, text: content, ...meaningOf(content) };
}

function meaningOf(content: string): Pick<Stored, "ifname" | "network" | "delegate"> {
  const raw = objectIn(content);
  if (raw === undefined) return {};
  const { type, name } = foldKeys(raw, ["type", "name"]);
  const own = raw[OWN];
  const ifname = isObject(own) ? own["ifname"] : undefined;
  return {
    ...(typeof ifname === "string" ? { ifname } : {}),
    ...(typeof name === "string" ? { network: name } : {}),
    ...(typeof type === "string" && type !== ""
      ? { delegate: { type, capabilities: {}, raw: withoutKeys(raw, [OWN]) } }
      : {}),
  };
}

function objectIn(content: string): JsonObject | undefined {
  try {
    const value = parseJson(content, "stored configuration");
    return isObject(value) ? value : undefined;
  } catch (e) {
    if (e instanceof NetError) return undefined;
    throw e;
  }
}
