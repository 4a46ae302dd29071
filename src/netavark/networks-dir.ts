/** The networks that Podman knows, from its own files: which subnets are taken although the host has no route to them yet. */
import { JSON_TEXT_LIMIT, list, object, parseJson, withDefault } from "../cni/json.ts";
import { NetError } from "../errors.ts";
import type { IpPrefix } from "../net/ip.ts";
import { listDir, readText, unlessErrno } from "../sys/files.ts";
import { readSubnet } from "./decode.ts";

/** Where Podman keeps them when it runs as root, unless containers.conf names another directory. */
const DIR = "/etc/containers/networks";
const fields = object({ subnets: withDefault(list(readSubnet), []) });

/** Every subnet of them. Files that cannot be read are passed over. */
export function otherSubnets(dir = DIR): readonly IpPrefix[] {
  const files = unlessErrno(["ENOENT", "EACCES"], () => listDir(dir)) ?? [];
  return files
    .filter(({ name, isFile }) => isFile && name.endsWith(".json"))
    .flatMap(({ name }) => subnetsIn(`${dir}/${name}`));
}

function subnetsIn(path: string): readonly IpPrefix[] {
  try {
    return fields(parseJson(readText(path, 0, JSON_TEXT_LIMIT), path), "").subnets.map(({ pool }) => pool);
  } catch (e) {
    if (e instanceof NetError) return []; // Podman passes it over as well, and says so.
    throw e;
  }
}
