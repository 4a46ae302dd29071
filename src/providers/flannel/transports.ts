/**
 * From the `Backend` of a Flannel network to the transport that does it: the keys, defaults and ranges of each. What flanneld
 * ignores, unknown keys for example, is ignored here too.
 */
import { flag, integer, invalid, object, refined, text, withDefault } from "../../cni/json.ts";
import { allocTransport } from "../../fabric/transport/alloc.ts";
import { hostGatewayTransport } from "../../fabric/transport/host-gw.ts";
import { ipipTransport } from "../../fabric/transport/ipip.ts";
import type { Transport } from "../../fabric/transport/transport.ts";
import { vxlanTransport } from "../../fabric/transport/vxlan.ts";
import { localMac, type Mac, macFromBytes } from "../../net/mac.ts";
import type { BackendConfig } from "./config.ts";

/** What Linux takes for a vxlan link that names no port; newer than it is 4789 (RFC 7348). */
const KERNELS_PORT = 8472;
const VNI_MAX = 0xff_ffff;

/** `0E-2A`: the first two bytes of the hardware address. */
const macPrefix = refined(text, (value, at) => {
  if (!/^[0-9a-f]{2}[-:][0-9a-f]{2}$/i.test(value)) invalid(at, `"${value}" is not two bytes, as "0E-2A"`);
  const bytes = Uint8Array.fromHex(value.slice(0, 2) + value.slice(3));
  if ((bytes[0] ?? 0) & 1) invalid(at, `"${value}" begins addresses of groups: the first byte must be even`);
  return bytes;
});

const vxlanOptions = object({
  VNI: withDefault(integer({ min: 0, max: VNI_MAX }), 1),
  Port: withDefault(integer({ min: 0, max: 65_535 }), 0),
  GBP: withDefault(flag, false),
  Learning: withDefault(flag, false),
  DirectRouting: withDefault(flag, false),
  MTU: withDefault(integer({ min: 0, max: 65_535 }), 0),
  MacPrefix: macPrefix,
});
const ipipOptions = object({ DirectRouting: withDefault(flag, false) });

/**
 * The transport of a backend that the kernel does by itself; undefined for another type. `random` gives as many random bytes as the array has.
 * @throws config/invalid, naming the key
 */
export function kernelTransport(
  { type, options }: BackendConfig,
  random: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array = (bytes) => crypto.getRandomValues(bytes),
): Transport | undefined {
  switch (type) {
    case "vxlan": {
      const o = vxlanOptions(options, "Backend");
      return vxlanTransport(
        {
          vni: o.VNI,
          port: o.Port || KERNELS_PORT,
          gbp: o.GBP,
          learning: o.Learning,
          directRouting: o.DirectRouting,
          ...(o.MTU === 0 ? {} : { mtuBytes: o.MTU }),
        },
        () => newMac(random(new Uint8Array(6)), o.MacPrefix),
      );
    }
    case "host-gw":
      return hostGatewayTransport();
    case "ipip":
      return ipipTransport({ directRouting: ipipOptions(options, "Backend").DirectRouting });
    case "alloc":
      return allocTransport;
    default:
      return undefined;
  }
}

function newMac(bytes: Uint8Array, begin: Uint8Array | undefined): Mac {
  if (begin === undefined) return localMac(bytes);
  bytes.set(begin);
  return macFromBytes(bytes) ?? localMac(bytes);
}
