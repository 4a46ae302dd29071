/**
 * One call of a reference plugin, to compare with ours. The executables come from `scripts/peer.ts`; where they
 * cannot be had, a test skips and says why.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { peerDir } from "../../scripts/peer.ts";
import { errorText } from "../cni/errors.ts";
import type { AttachmentKey } from "../cni/plugin.ts";

/** The path of a reference plugin; undefined after printing why there is none. */
export async function peerProgram(type: string): Promise<string | undefined> {
  try {
    const path = join(await peerDir(), type);
    if (existsSync(path)) return path;
    console.warn(`skipped: ${path} is not there`);
  } catch (e) {
    console.warn(`skipped: the reference's ${type} is not here: ${errorText(e)}`);
  }
  return undefined;
}

/** The environment of a call. The namespace is this process's own: an IPAM plugin does not enter it. */
export const callEnv = (command: string, key: AttachmentKey): Record<string, string> => ({
  CNI_COMMAND: command,
  CNI_CONTAINERID: key.containerId,
  CNI_IFNAME: key.ifname,
  CNI_NETNS: "/proc/self/ns/net",
  CNI_NETNS_OVERRIDE: "1",
  CNI_PATH: "/nonexistent",
});

/** Runs a program to its end; the exit code and the text it printed. */
export function runPeer(
  program: string,
  env: Readonly<Record<string, string>>,
  conf: object,
): { readonly code: number; readonly stdout: string } {
  const r = Bun.spawnSync([program], { env, stdin: Buffer.from(JSON.stringify(conf)) });
  return { code: r.exitCode, stdout: r.stdout.toString() };
}
