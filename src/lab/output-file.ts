/**
 * Files that a person asks for by name. A link there is followed, as `/dev/stdout` is one, unless it stands where others
 * could have put it.
 */
import { resolve } from "node:path";
import { whyDistrusted } from "../netstate/trusted-dir.ts";
import type { Fd } from "../sys/fd.ts";
import { dirOf, O, openFile } from "../sys/files.ts";

/** @throws sys/call, ELOOP for a link in a directory that others can write to */
export function openOutput(path: string, mode: number): Fd {
  const isOurs = whyDistrusted(dirOf(resolve(path))) === undefined;
  return openFile(path, O.WRONLY | O.CREAT | O.TRUNC | (isOurs ? 0 : O.NOFOLLOW), mode);
}
