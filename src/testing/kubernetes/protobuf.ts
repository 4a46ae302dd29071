/**
 * The two questions that kubectl asks in protocol buffers and not in JSON: who am I, and may I. The numbers are those of the
 * published .proto files of Kubernetes; an envelope says which message follows.
 */
import type { JsonObject } from "./json.ts";

export const PROTOBUF = "application/vnd.kubernetes.protobuf";

type Message = Readonly<Record<number, string | readonly [string, Message]>>;

const messages: Readonly<Record<string, Message>> = {
  SelfSubjectReview: {},
  SelfSubjectAccessReview: {
    2: [
      "spec",
      {
        1: [
          "resourceAttributes",
          { 1: "namespace", 2: "verb", 3: "group", 4: "version", 5: "resource", 6: "subresource", 7: "name" },
        ],
        2: ["nonResourceAttributes", { 1: "path", 2: "verb" }],
      },
    ],
  },
};

const MAGIC = new Uint8Array([0x6b, 0x38, 0x73, 0]);

/** The object in an envelope; undefined if it is none, or of a kind that is not asked this way here. */
export function fromProtobuf(bytes: Uint8Array): JsonObject | undefined {
  if (!Bun.deepEquals(bytes.subarray(0, 4), MAGIC)) return undefined;
  const envelope = fields(bytes.subarray(4));
  const type = fields(envelope.get(1) ?? new Uint8Array());
  const [apiVersion, kind] = [1, 2].map((n) => new TextDecoder().decode(type.get(n)));
  const message = Object.hasOwn(messages, kind ?? "") ? messages[kind ?? ""] : undefined;
  if (message === undefined) return undefined;
  const object = objectOf(envelope.get(2) ?? new Uint8Array(), message);
  return { ...object, apiVersion: apiVersion ?? "", kind: kind ?? "" };
}

function objectOf(bytes: Uint8Array, message: Message): JsonObject {
  const out: Record<string, string | JsonObject> = {};
  for (const [number, value] of fields(bytes)) {
    const field = message[number];
    if (typeof field === "string") out[field] = new TextDecoder().decode(value);
    else if (field !== undefined) out[field[0]] = objectOf(value, field[1]);
  }
  return out;
}

/** The fields of a message that have a length: texts and messages. */
function fields(bytes: Uint8Array): ReadonlyMap<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    return value;
  };
  while (at < bytes.length) {
    const tag = varint();
    if ((tag & 7) === 0) varint();
    else if ((tag & 7) === 2) {
      const length = varint();
      found.set(tag >>> 3, bytes.subarray(at, at + length));
      at += length;
    } else break;
  }
  return found;
}
