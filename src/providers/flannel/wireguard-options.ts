/** The keys of Flannel's backend `wireguard`, with flanneld's defaults, and the transport that they make. */
import {
  integer,
  invalid,
  type JsonObject,
  object,
  oneOf,
  refined,
  text,
  withDefault,
} from "../../cni/json.ts";
import type { Transport } from "../../fabric/transport/transport.ts";
import { wireguardTransport } from "../../fabric/transport/wireguard.ts";
import type { Family } from "../../net/ip.ts";
import { SecretKey } from "../../net/wireguard-key.ts";

const port = integer({ min: 1, max: 65_535 });

/** The empty text is the same as none. What is refused is not repeated. */
const presharedKey = refined(text, (value, at) => {
  if (value === "") return undefined;
  const key = SecretKey.parse(value);
  return key.ok ? key.value : invalid(at, key.why);
});

const wireguardOptions = object({
  Mode: withDefault(oneOf("separate", "auto", "ipv4", "ipv6"), "separate"),
  PSK: presharedKey,
  ListenPort: withDefault(port, 51_820),
  ListenPortV6: withDefault(port, 51_821),
  MTU: withDefault(integer({ min: 0, max: 65_535 }), 0),
  PersistentKeepaliveInterval: withDefault(integer({ min: 0, max: 65_535 }), 0),
});

/**
 * `families`: those of the network.
 * @throws config/invalid, naming the key
 */
export function wireguardOf(options: JsonObject, families: readonly Family[]): Transport {
  const o = wireguardOptions(options, "Backend");
  const over = o.Mode === "ipv4" ? 4 : o.Mode === "ipv6" ? 6 : undefined;
  if (over !== undefined && !families.includes(over))
    invalid("Backend.Mode", `goes over IPv${over}, which the network does not have: see EnableIPv${over}`);
  if (o.Mode === "separate" && families.length > 1 && o.ListenPort === o.ListenPortV6)
    invalid(
      "Backend.ListenPortV6",
      `${o.ListenPortV6} is ListenPort, too; two tunnels cannot have one port: choose another, or a Mode with one tunnel`,
    );
  return wireguardTransport({
    mode: o.Mode,
    listenPort: o.ListenPort,
    listenPortV6: o.ListenPortV6,
    keepaliveSeconds: o.PersistentKeepaliveInterval,
    ...(o.PSK === undefined ? {} : { presharedKey: o.PSK }),
    ...(o.MTU === 0 ? {} : { mtuBytes: o.MTU }),
  });
}
