import { foldKeys, isObject, type JsonObject, parseJson, withoutKeys } from "../../../cni/json.ts";
import type { PluginConf } from "../../../cni/list.ts";
import type { AttachmentKey } from "../../../cni/plugin.ts";
import { NetError } from "../../../errors.ts";
import { listDir, makeDirs, O, putText, readText, removeIfThere, unlessErrno } from "../../../sys/files.ts";

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

const plainPath = (dir: string, { containerId }: AttachmentKey): string => `${dir}/${containerId}`;
const secondPath = (dir: string, key: AttachmentKey): string => `${plainPath(dir, key)}:${key.ifname}`;

/** The file of the attachment; undefined if there is none. */
export function findStored(dir: string, network: string, key: AttachmentKey): Stored | undefined {
  const second = readStored(secondPath(dir, key), key);
  if (second !== undefined) return second;
  const plain = readStored(plainPath(dir, key), key);
  return plain !== undefined && isOf(plain, network, key) ? plain : undefined;
}

const isOf = (stored: Stored, network: string, { ifname }: AttachmentKey): boolean =>
  stored.ifname === undefined
    ? stored.network === undefined || stored.network === network
    : stored.ifname === ifname;

/** Where the attachment's file is to be, beside those of the container's other interfaces. */
export function placeOf(dir: string, network: string, key: AttachmentKey): string {
  const found = findStored(dir, network, key);
  if (found !== undefined) return found.path;
  const plain = plainPath(dir, key);
  return readStored(plain, key) === undefined ? plain : secondPath(dir, key);
}

export function store(path: string, { raw }: PluginConf, { ifname }: AttachmentKey): void {
  putBack(path, JSON.stringify({ ...raw, [OWN]: { ifname } }));
}

export function putBack(path: string, content: string): void {
  makeDirs(path.slice(0, path.lastIndexOf("/")), 0o700);
  try {
    putText(path, content, O.CREAT | O.TRUNC | O.NOFOLLOW, 0o600);
  } catch (e) {
    removeIfThere(path); // half a file says nothing to anybody
    throw e;
  }
}

export const forget = ({ path }: Pick<Stored, "path">): void => void removeIfThere(path);

/** Every file of the directory that is an attachment's. */
export const listStored = (dir: string): readonly Stored[] =>
  (unlessErrno(["ENOENT"], () => listDir(dir)) ?? []).flatMap(({ name, isFile }) => {
    const [, containerId, ifname] = /^([a-zA-Z0-9][\w.-]*)(?::([^:]+))?$/.exec(name) ?? [];
    if (!isFile || containerId === undefined) return [];
    const found = readStored(`${dir}/${name}`, { containerId });
    return found === undefined ? [] : [ifname === undefined ? found : { ...found, ifname }];
  });

function readStored(path: string, { containerId }: Pick<AttachmentKey, "containerId">): Stored | undefined {
  const content = unlessErrno(["ENOENT", "ENOTDIR", "ELOOP"], () => readText(path, O.NOFOLLOW | O.NONBLOCK));
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
