/**
 * DEL of what the reference tuned: it keeps the old values of the link in a file of its own, and none of sysctls. Only
 * read when there is no record of ours. The file goes also where the link is gone.
 */
import { flag, integer, object, parseJson, parsed } from "../../../cni/json.ts";
import type { DelCall } from "../../../cni/plugin.ts";
import { isNetError } from "../../../errors.ts";
import type { NetlinkSocket } from "../../../netlink/socket.ts";
import { parseMac } from "../../../net/mac.ts";
import type { Context } from "../../../netstate/context.ts";
import { findLink, type Link, type LinkChange, setLink } from "../../../rtnl/link.ts";
import { readText, removeIfThere, unlessErrno } from "../../../sys/files.ts";
import type { TuningConfig } from "./config.ts";

/** The attributes that were changed, as they were before. */
const backup = object({
  mac: parsed(parseMac),
  promisc: flag,
  mtu: integer({ min: 1, max: 0x7fffffff }),
  allmulti: flag,
  txQLen: integer({ min: 0, max: 0xffffffff }),
});

/** The values of the file; throws `decode/malformed` or `config/invalid` if it is not what the reference writes. */
export function parseBackup(text: string): LinkChange {
  const { mac, promisc, mtu, allmulti, txQLen } = backup(parseJson(text, "values to put back"), "");
  return {
    ...(mac ? { mac } : {}),
    ...(promisc === undefined ? {} : { promiscuous: promisc }),
    ...(mtu ? { mtuBytes: mtu } : {}),
    ...(allmulti === undefined ? {} : { allMulticast: allmulti }),
    ...(txQLen === undefined ? {} : { txQueueLength: txQLen }),
  };
}

export async function removeForeignTuning(call: DelCall<TuningConfig>, { spaces }: Context): Promise<void> {
  const path = `${call.config.dataDir}/${call.containerId}_${call.ifname}.json`;
  const text = unlessErrno(["ENOENT", "ENOTDIR"], () => readText(path));
  if (text === undefined) return;
  const socket = spaces.container?.socket;
  const link = socket && findLink(socket, { name: call.ifname });
  if (socket && link) {
    const change = readBackup(text, path, call.log);
    if (Object.keys(change).length > 0) putBack(socket, link, change, call.log);
  }
  removeIfThere(path);
}

/** What the kernel refuses once it refuses every time. */
function putBack(
  socket: NetlinkSocket,
  { index, name }: Link,
  change: LinkChange,
  log: (message: string) => void,
): void {
  try {
    setLink(socket, { index }, change);
  } catch (e) {
    if (!isNetError(e, "netlink/refused")) throw e;
    log(`the old values of ${name} were not all put back: ${e.message}`);
  }
}

/** A file that nobody can read again would stop every DEL to come. */
function readBackup(text: string, path: string, log: (message: string) => void): LinkChange {
  try {
    return parseBackup(text);
  } catch (e) {
    log(`${path} does not say what to put back: ${(e as Error).message}`);
    return {};
  }
}
