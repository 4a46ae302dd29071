import { kernelPlugin } from "../../../cni/attach.ts";
import type { Collection } from "../../../cni/kernel-plugin.ts";
import type { DelCall, Plugin, StatusCall } from "../../../cni/plugin.ts";
import type { Context } from "../../../netstate/context.ts";
import { findMarked, giveBack, homeName, MOVED } from "../../../netstate/kinds/moved-link.ts";
import { peekRecord } from "../../../netstate/record.ts";
import { findLink, listLinks } from "../../../rtnl/link.ts";
import { type HostDeviceConfig, options, parseConfig, parseForRemoval } from "./config.ts";
import { needs, plan } from "./plan.ts";

/** `host-device`: a device of the host belongs to the container until DEL. */
export const hostDevice: Plugin<HostDeviceConfig> = kernelPlugin<HostDeviceConfig>({
  type: "host-device",
  about: "A device of the host for one container",
  options: [options],
  parse: parseConfig,
  parseForRemoval,
  ipam: (config) => config.ipam,
  needs,
  plan,
  firewalls: () => [],
  status: warnOfAbsence,
  removeForeign: returnWithoutRecord,
  removeUnused: returnLost,
});

/** DEL of what has lost its record, or was moved by the reference: its name in the host is its alias. */
async function returnWithoutRecord({ ifname }: DelCall<HostDeviceConfig>, context: Context): Promise<void> {
  const { mark, spaces } = context;
  const socket = spaces.container?.socket;
  const own = [socket, spaces.host].map((at) => at && findMarked(at, MOVED + mark)).find((l) => l);
  const inside = own === undefined && socket ? findLink(socket, { name: ifname }) : undefined;
  // What another attachment of ours made or moved is not the reference's.
  const theirs = inside?.altNames.some((n) => n.startsWith("heddle-") || n.startsWith(MOVED))
    ? undefined
    : inside;
  const link = own ?? theirs;
  const name = link && homeName(link);
  if (name !== undefined) giveBack({ name }, {}, context, theirs);
}

/** GC of devices that the kernel has returned from a namespace, and whose record is lost. */
async function returnLost(_: HostDeviceConfig, { spaces, prefix, valid }: Collection): Promise<void> {
  for (const link of listLinks(spaces.host)) {
    const mark = link.altNames.find((n) => n.startsWith(MOVED + prefix))?.slice(MOVED.length);
    const name = homeName(link);
    // A record knows how the device was: what failed by it is tried again by it.
    if (mark !== undefined && name !== undefined && !valid.has(mark) && peekRecord(mark) === undefined)
      giveBack({ name }, {}, { mark, spaces: { ...spaces, container: undefined } });
  }
}

/**
 * STATUS: while a container has the device, nobody else can get it. That is a warning: a node must not be taken out of
 * service for a device that does what it is for.
 */
async function warnOfAbsence({ config, log }: StatusCall<HostDeviceConfig>): Promise<void> {
  const { openNetlink } = await import("../../../netlink/socket.ts");
  const { findDevice } = await import("../../../netstate/find-device.ts");
  using host = openNetlink("route");
  const found = findDevice(host, config.device);
  if (found.kind === "none") log(`no container can get the device now: ${found.why}`);
}
