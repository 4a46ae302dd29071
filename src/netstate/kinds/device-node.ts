/** The file of a character device that came with a link: it goes with the link. */
import { NetError } from "../../errors.ts";
import { giveFile, statPath } from "../../sys/files.ts";
import { expectSame, type KindOperations } from "../context.ts";
import type { DeviceNodeObject } from "../model.ts";

/** For its user alone, and for the group if one is named. */
const modeOf = ({ gid }: DeviceNodeObject): number => (gid === undefined ? 0o600 : 0o660);

function apply(o: DeviceNodeObject): void {
  // The kernel answers after it has made the file.
  if (statPath(o.path)?.isCharDevice !== true)
    throw new NetError("feature/missing", {
      feature: `the character device ${o.path}`,
      needs: "a devtmpfs at /dev, as the kernel makes the file there",
    });
  if (o.uid !== undefined || o.gid !== undefined)
    giveFile(o.path, { uid: o.uid, gid: o.gid, mode: modeOf(o) });
}

function verify(o: DeviceNodeObject): void {
  const found = statPath(o.path);
  expectSame(`character device ${o.path}`, "present", found?.isCharDevice ? "present" : "none");
  if (o.uid !== undefined) expectSame(`user of ${o.path}`, o.uid, found?.uid ?? 0);
  if (o.gid !== undefined) expectSame(`group of ${o.path}`, o.gid, found?.gid ?? 0);
}

export const deviceNode: KindOperations<DeviceNodeObject> = { apply, verify, remove: () => {} };
