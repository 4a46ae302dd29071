/** What is shown to the API server, as it is now: tokens and certificates in files are renewed while a process runs. */
import { readFileSync } from "node:fs";
import { NetError } from "../../../errors.ts";
import type { ClusterAccess, Material } from "./access.ts";

export interface Credentials {
  /** In PEM; absent: the system's. */
  readonly authority?: string;
  readonly certificate?: string;
  readonly key?: string;
  /** The value of the header `Authorization`. */
  readonly authorization?: string;
}

/** The longest file that is read. A token has 1 or 2 kilobytes, a bundle of authorities seldom 300. */
const FILE_BYTES = 1024 * 1024;

/** Reads whatever stands in files anew: they are small, and connections are few. @throws store/denied naming the file */
export function readCredentials(access: ClusterAccess): Credentials {
  const { authority, client, token } = access;
  return {
    ...(authority === undefined ? {} : { authority: read(authority, "certificate authority") }),
    ...(client === undefined
      ? {}
      : {
          certificate: read(client.certificate, "client certificate"),
          key: read(client.key, "client key"),
        }),
    ...(token === undefined ? {} : { authorization: `Bearer ${bearer(read(token, "token"))}` }),
  };
}

const refused = (why: string, cause?: unknown): never => {
  throw new NetError("store/denied", { store: "Kubernetes", why }, { cause });
};

function read(material: Material, what: string): string {
  if (material.kind === "text") return material.text;
  let text: string;
  try {
    text = readFileSync(material.path, "utf8");
  } catch (e) {
    return refused(`the ${what} in ${material.path} cannot be read`, e);
  }
  if (text.trim() === "") refused(`the ${what} in ${material.path} is empty`);
  if (text.length > FILE_BYTES) refused(`the ${what} in ${material.path} is longer than ${FILE_BYTES} bytes`);
  return text;
}

/** A token has no blanks; the line's end of a file does not belong to it. */
function bearer(text: string): string {
  const token = text.trim();
  return /^[!-~]+$/.test(token) ? token : refused("the token has characters that no token has");
}
