import { flag, invalid, object, parsed, refined, text } from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import { dnsFields } from "../../../cni/result-codec.ts";
import type { Dns } from "../../../cni/result.ts";
import { parseMac } from "../../../net/mac.ts";
import { type DeviceWanted, isPciAddress } from "../../../netstate/find-device.ts";
import type { Dad } from "../../../rtnl/address.ts";
import { ifName, ipamField, ipamForRemoval, unlessEmpty } from "../../shared/config.ts";
import { dadOf } from "../../shared/master.ts";

/** The keys of a `host-device` network. */
export interface HostDeviceConfig {
  readonly device: DeviceWanted;
  readonly dad: Dad;
  readonly ipam?: string;
  readonly dns?: Dns;
}

const DEVICES = "/sys/devices/";
const kernelPath = refined(text, (path, at) =>
  path.startsWith(DEVICES) && !path.split("/").includes("..")
    ? path.replace(/\/+$/, "")
    : invalid(at, `"${path}" is no path below ${DEVICES}`),
);
const pciAddress = refined(text, (id, at) =>
  isPciAddress(id) ? id.toLowerCase() : invalid(at, `"${id}" is no PCI address such as 0000:03:00.1`),
);
/** A PCI address, or the name of a device of the auxiliary bus: a file in sysfs. */
const deviceId = refined(text, (id, at) =>
  /^[\w.:-]+$/.test(id) && !/^\.+$/.test(id) ? id : invalid(at, `"${id}" is no name of a device`),
);

export const options = object({
  device: unlessEmpty(ifName),
  hwaddr: unlessEmpty(parsed(parseMac)),
  kernelpath: unlessEmpty(kernelPath),
  pciBusID: unlessEmpty(pciAddress),
  runtimeConfig: object({ deviceID: unlessEmpty(deviceId) }),
  enabledad: flag,
  ipam: ipamField,
  dns: dnsFields,
});

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): HostDeviceConfig {
  const { device: name, hwaddr: mac, kernelpath, pciBusID, runtimeConfig, ...raw } = options(conf.raw, "");
  const given = runtimeConfig?.deviceID;
  const pci = given !== undefined && isPciAddress(given) ? given.toLowerCase() : pciBusID;
  const auxiliary = given !== undefined && !isPciAddress(given) ? given : undefined;
  const device = {
    ...(name === undefined ? {} : { name }),
    ...(mac === undefined ? {} : { mac }),
    ...(kernelpath === undefined ? {} : { kernelPath: kernelpath }),
    ...(pci === undefined ? {} : { pci }),
    ...(auxiliary === undefined ? {} : { auxiliary }),
  };
  if (Object.keys(device).length === 0)
    invalid(
      "device",
      'name the device by "device", "hwaddr", "kernelpath" or "pciBusID", or have the runtime give its "deviceID"',
    );
  return {
    device,
    dad: dadOf(raw.enabledad),
    ...(raw.ipam?.type ? { ipam: raw.ipam.type } : {}),
    ...(raw.dns ? { dns: raw.dns } : {}),
  };
}

/** What removal needs, from a configuration that may have become invalid since ADD. */
export function parseForRemoval(conf: NetConf): HostDeviceConfig {
  try {
    return parseConfig(conf);
  } catch {
    const ipam = ipamForRemoval(conf);
    const raw = { device: "none", ...(ipam === undefined ? {} : { ipam: { type: ipam } }) };
    return parseConfig({ ...conf, raw });
  }
}
