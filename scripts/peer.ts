/** The reference plugins, to compare with: Debian's containernetworking-plugins, unpacked into the cache. */
import { join } from "node:path";
import { unpackDebian } from "./debian.ts";
import { cacheDir } from "./paths.ts";

const PACKAGE = "containernetworking-plugins";

/**
 * A directory with the reference's executables: of Debian's `sid` suite (1.9.1 or newer), or of the release that runs
 * on this machine (1.1.1 on Debian 12). `HEDDLE_PEER_DIR` names a directory to use instead of the first.
 * @throws if apt is not there or cannot fetch the package
 */
export async function peerDir(which: "sid" | "release" = "sid"): Promise<string> {
  const own = process.env["HEDDLE_PEER_DIR"];
  if (which === "sid" && own !== undefined && own !== "") return own;
  const root = join(cacheDir("peer"), which);
  await unpackDebian(root, which === "sid" ? "sid" : "this machine's", (apt) => apt.download([PACKAGE]));
  return join(root, "usr/lib/cni");
}

if (import.meta.main) console.log(await peerDir(process.argv.includes("--release") ? "release" : "sid"));
