/** Small decoders for what Docker's calls have in common. Every text and list from outside has a bound. */
import { type Decode, integer, invalid, list, object, parsed, text, withDefault } from "../cni/json.ts";
import { type Ip, isUnspecified, parseIp, type IpPrefix, parsePrefix } from "../net/ip.ts";
import { orNone } from "../plugins/shared/option-words.ts";
import type { AskedPort, OpenPort } from "./model.ts";

/** Docker's IDs have 64 characters; whoever tests may have shorter or longer ones. */
const ID = /^[\w.-]{1,128}$/;

export const id: Decode<string> = (value, at) => {
  const word = text(value, at);
  return ID.test(word) ? word : invalid(at, "must be 1 to 128 letters, digits, dots, dashes and underscores");
};

/** As many as a request may list of anything. */
const ITEMS = 4096;

export const bounded = <T>(item: Decode<T>, most = ITEMS): Decode<readonly T[]> => {
  const all = list(item);
  return (value, at) =>
    Array.isArray(value) && value.length > most
      ? invalid(at, `has ${value.length} items; there may be ${most}`)
      : all(value, at);
};

export const ip: Decode<Ip> = parsed(parseIp);
export const ipPrefix: Decode<IpPrefix> = parsed(parsePrefix);

/** Numbers of protocols (IANA), as Docker writes them. */
const PROTOCOLS = new Map<number, AskedPort["protocol"]>([
  [6, "tcp"],
  [17, "udp"],
  [132, "sctp"],
]);
const protocol: Decode<AskedPort["protocol"]> = (value, at) =>
  PROTOCOLS.get(integer()(value, at)) ??
  invalid(at, `protocol ${String(value)} has no ports; use tcp (6), udp (17) or sctp (132)`);

const port = integer({ min: 0, max: 65535 });
const zero = withDefault(port, 0);
const readBinding = object({
  Proto: withDefault(protocol, "tcp"),
  Port: zero,
  HostIP: orNone(ip),
  HostPort: zero,
  HostPortEnd: zero,
});

/** One entry of `com.docker.network.portmap`. */
export const portBinding: Decode<AskedPort> = (value, at) => {
  const b = readBinding(value, at);
  if (b.Port === 0) return invalid(`${at}.Port`, "is missing: it is the port in the container");
  const hostPortEnd = Math.max(b.HostPort, b.HostPortEnd);
  if (b.HostPortEnd !== 0 && b.HostPortEnd < b.HostPort)
    return invalid(`${at}.HostPortEnd`, `${b.HostPortEnd} is less than HostPort, which is ${b.HostPort}`);
  return {
    protocol: b.Proto,
    containerPort: b.Port,
    ...(b.HostIP ? { hostIp: b.HostIP } : {}),
    hostPort: b.HostPort,
    hostPortEnd,
  };
};

const numberOf = (name: AskedPort["protocol"]): number =>
  [...PROTOCOLS].find(([, n]) => n === name)?.[0] ?? 0;

/** As Docker writes a port that is open. */
export const bindingOf = (p: OpenPort): object => ({
  Proto: numberOf(p.protocol),
  IP: "",
  Port: p.containerPort,
  HostIP: p.hostIp?.text ?? "",
  HostPort: p.hostPort,
  HostPortEnd: p.hostPort,
});

/** A port that is open, as `bindingOf` wrote it. */
export const openPort: Decode<OpenPort> = (value, at) => {
  const { hostPortEnd: _, ...open } = portBinding(value, at);
  return open.hostPort === 0 ? invalid(`${at}.HostPort`, "is missing") : open;
};

/** True if both cannot be open at once. */
export const collides = (a: OpenPort, b: OpenPort): boolean =>
  a.protocol === b.protocol && a.hostPort === b.hostPort && meets(a.hostIp, b.hostIp);

const meets = (a: Ip | undefined, b: Ip | undefined): boolean =>
  a === undefined || b === undefined
    ? true
    : a.family === b.family && (a.text === b.text || isUnspecified(a) || isUnspecified(b));
