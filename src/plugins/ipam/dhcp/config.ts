/**
 * The configuration of `dhcp`: where the daemon is, what the client says of itself and asks for, which families. Names of
 * options are those of the reference; every other option goes by its number.
 */
import { splitCniArgs } from "../../../cni/args.ts";
import {
  type Decode,
  flag,
  integer,
  invalid,
  list,
  object,
  oneOf,
  refined,
  required,
  text,
} from "../../../cni/json.ts";
import type { AttachmentKey, NetConf } from "../../../cni/plugin.ts";
import { NetError } from "../../../errors.ts";
import { SOCKET_PATH } from "../../../dhcp/client.ts";
import type { Client } from "../../../dhcp/model.ts";
import { OPTION, USUAL_REQUEST } from "../../../dhcp/v4-options.ts";
import { type Checked, checked, demand } from "../decode.ts";

export interface DhcpConfig {
  readonly socketPath: string;
  readonly wishes: Checked<Wishes>;
}
interface Wishes {
  readonly families: readonly (4 | 6)[];
  readonly provide: readonly Provided[];
  /** Numbers of options to ask for. */
  readonly request: readonly number[];
  /** Metric of the returned routes; absent: the kernel's. */
  readonly priority?: number;
}
interface Provided {
  readonly code: number;
  /** The value, unless `CNI_ARGS` has one under `fromArg`. */
  readonly value: string;
  readonly fromArg: string;
  readonly at: string;
}

const names: Readonly<Record<string, number>> = {
  "dhcp-client-identifier": OPTION.clientId,
  "subnet-mask": OPTION.subnetMask,
  routers: OPTION.routers,
  "host-name": OPTION.hostName,
  "user-class": OPTION.userClass,
  "vendor-class-identifier": OPTION.vendorClass,
};

/** Options that make the conversation itself: a value from outside would break it. */
const OWN: readonly number[] = [
  0,
  OPTION.requestedAddress,
  OPTION.overload,
  OPTION.messageType,
  OPTION.serverId,
  OPTION.parameterRequest,
  OPTION.maximumSize,
  255,
];

const optionCode: Decode<number> = (value, at) => {
  const name = text(value, at);
  const code = names[name] ?? (/^\d{1,3}$/.test(name) ? Number(name) : 256);
  if (code > 255)
    invalid(at, `"${name}" is neither a number from 0 to 255 nor one of ${Object.keys(names).join(", ")}`);
  return code;
};
const VALUE_BYTES = 255;

const readProvided = object({ option: required(optionCode), value: text, fromArg: text });
const provided: Decode<Provided> = refined(readProvided, ({ option, value = "", fromArg = "" }, at) => {
  if (OWN.includes(option)) invalid(`${at}.option`, `option ${option} is set by the client itself`);
  if (value === "" && fromArg === "") invalid(at, "needs a value, or fromArg");
  return { code: option, value: fits(value, `${at}.value`), fromArg, at };
});

/** One byte says how long a value is; of a user class another one does. */
function fits(value: string, at: string): string {
  const bytes = Buffer.byteLength(value);
  return bytes <= VALUE_BYTES ? value : invalid(at, `${bytes} bytes are more than ${VALUE_BYTES}`);
}

const readRequested = object({ option: optionCode, skipDefault: flag });

/** 32 bits, as the kernel's metric. */
const priority = integer({ min: 0, max: 0xffff_ffff });
const socketPath: Decode<string> = (value, at) => {
  const path = text(value, at);
  return path === "" || path.startsWith("/") ? path : invalid(at, `"${path}" is not an absolute path`);
};
const family = oneOf("ipv4", "ipv6");

export const options = object({
  ipam: required(
    object({
      daemonSocketPath: socketPath,
      provide: list(provided),
      request: list(readRequested),
      priority,
      families: list(family),
    }),
  ),
});
/** What giving back needs, however the rest may have become invalid. */
const removalOptions = object({ ipam: object({ daemonSocketPath: socketPath }) });

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): DhcpConfig {
  const config = parseForRemoval(conf);
  demand(config.wishes);
  return config;
}

/** Never throws but for a socket's path that cannot be one: DEL must not ask another daemon. */
export function parseForRemoval(conf: NetConf): DhcpConfig {
  const path = removalOptions(conf.raw, "").ipam?.daemonSocketPath ?? "";
  return { socketPath: path === "" ? SOCKET_PATH : path, wishes: checked(() => parseWishes(conf)) };
}

function parseWishes(conf: NetConf): Wishes {
  const { ipam } = options(conf.raw, "");
  const asked = ipam.families ?? [];
  if (ipam.families?.length === 0) invalid("ipam.families", "names no family");
  const request = ipam.request ?? [];
  const usual = request.some((r) => r.skipDefault === true) ? [] : USUAL_REQUEST;
  const wanted = request.flatMap(({ option, skipDefault }, i) => {
    // An entry may be there for `skipDefault` alone.
    if (option === undefined && skipDefault === undefined) invalid(`ipam.request[${i}].option`, "is missing");
    return option === undefined ? [] : [option];
  });
  return {
    families: asked.length === 0 ? [4] : [...new Set(asked)].map((name) => (name === "ipv4" ? 4 : 6)),
    provide: ipam.provide ?? [],
    request: [...new Set([...usual, ...wanted])].filter((code) => code !== 0 && code !== 255),
    ...(ipam.priority === undefined || ipam.priority === 0 ? {} : { priority: ipam.priority }),
  };
}

/** The longest identifier without its type: with it, one byte can say its length. */
const IDENTIFIER_BYTES = 254;

/** Option 61: type 0, which is no hardware address, and who the attachment is. The reference's, so that a server knows it again. */
export function clientIdOf(network: string, { containerId, ifname }: AttachmentKey): string {
  const words = new TextEncoder().encode(`${containerId}/${network}/${ifname}`);
  return Uint8Array.of(0, ...words.subarray(0, IDENTIFIER_BYTES)).toHex();
}

/**
 * What the client says of itself. `args` is `CNI_ARGS`: its keys are not this plugin's alone, so that unknown ones are no
 * mistake.
 * @throws env/invalid config/invalid
 */
export function clientOf(wishes: Wishes, network: string, key: AttachmentKey, args: string): Client {
  const pairs = new Map(splitCniArgs(args));
  const sent = new Map<number, string>();
  for (const { code, value, fromArg, at } of wishes.provide) {
    const given = fromArg === "" ? undefined : pairs.get(fromArg);
    const text = given === undefined ? value : fits(given, `CNI_ARGS ${fromArg}`);
    // Without the argument there is nothing to say.
    if (text === "") continue;
    const bytes = new TextEncoder().encode(text);
    if (code === OPTION.userClass && bytes.length === VALUE_BYTES)
      throw new NetError("config/invalid", {
        field: at,
        why: `a user class has at most ${VALUE_BYTES - 1} bytes`,
      });
    sent.set(code, (code === OPTION.userClass ? Uint8Array.of(bytes.length, ...bytes) : bytes).toHex());
  }
  const id = sent.get(OPTION.clientId) ?? clientIdOf(network, key);
  sent.delete(OPTION.clientId);
  return { id, options: [...sent], request: wishes.request, broadcast: false };
}
