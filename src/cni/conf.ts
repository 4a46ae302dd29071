/**
 * The network configuration as a plugin finds it on standard input: the checks that hold for every plugin, the
 * previous result, and the list of valid attachments that GC brings. A plugin's own keys are its own affair.
 */
import { NetError } from "../errors.ts";
import {
  decodeAs,
  foldKeys,
  isObject,
  type JsonObject,
  list,
  object,
  parseJson,
  required,
  text,
} from "./json.ts";
import type { AttachmentKey, NetConf } from "./plugin.ts";
import { decodePrevResult } from "./result-codec.ts";
import type { Result } from "./result.ts";
import { checkNetworkName } from "./validate.ts";

/** A configuration whose version has not been looked at: `cniVersion` is the text, "" if there was none. */
export interface UncheckedConf {
  readonly cniVersion: string;
  readonly name: string;
  readonly type: string;
  readonly raw: JsonObject;
}

const commonShape = object({ cniVersion: text, name: text, type: text });

/**
 * Reads the keys that every configuration has.
 * @throws decode/malformed for broken JSON or a common key of the wrong type, config/invalid for the name
 */
export function readConf(source: string): UncheckedConf {
  const raw = parseJson(source, "network configuration");
  if (!isObject(raw))
    throw new NetError("decode/malformed", { what: "network configuration", why: "must be an object" });
  const { cniVersion = "", name = "", type = "" } = decodeAs("network configuration", commonShape, raw);
  return { cniVersion, name: checkNetworkName(name), type, raw };
}

/**
 * The previous result, if the configuration has one.
 * @throws prev-result/invalid
 */
export function prevResultOf(conf: NetConf): Result | undefined {
  const { prevResult } = foldKeys(conf.raw, ["prevResult"]);
  return prevResult === undefined ? undefined : decodePrevResult(prevResult, conf.cniVersion);
}

/** The key of the specification, and the name that runtimes used before it was settled. */
export const VALID_ATTACHMENTS = "cni.dev/valid-attachments";
export const VALID_ATTACHMENTS_ALIAS = "cni.dev/attachments";

const attachmentFields = object({ containerID: required(text), ifname: required(text) });
const readAttachments = list((value, at) => {
  const { containerID, ifname } = attachmentFields(value, at);
  return { containerId: containerID, ifname };
});

/**
 * The attachments that GC must keep. A runtime that names none means that every attachment of the network is
 * stale; an entry that cannot be read is an error, because leaving it out would cut off a container that lives.
 * @throws config/invalid
 */
export function validAttachmentsOf(conf: NetConf): readonly AttachmentKey[] {
  const found = foldKeys(conf.raw, [VALID_ATTACHMENTS, VALID_ATTACHMENTS_ALIAS]);
  const key = found[VALID_ATTACHMENTS] === undefined ? VALID_ATTACHMENTS_ALIAS : VALID_ATTACHMENTS;
  return found[key] === undefined ? [] : readAttachments(found[key], key);
}

/** False if the runtime names no list of attachments, which is not the same to every plugin as an empty one. */
export const namesValid = ({ raw }: Pick<NetConf, "raw">): boolean =>
  Object.keys(foldKeys(raw, [VALID_ATTACHMENTS, VALID_ATTACHMENTS_ALIAS])).length > 0;
