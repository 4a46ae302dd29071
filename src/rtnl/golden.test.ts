import { describe, expect, test } from "bun:test";
import { parse } from "../netstate/state-json.ts";
import type { Message } from "../netlink/message.ts";
import { readGolden } from "../testing/golden.ts";
import { addressAttrs, decodeAddress } from "./address.ts";
import { decodeFilter } from "./filter.ts";
import { decodeTunnelEntry, entryAttrs } from "./forwarding-entry.ts";
import { linkTypeOf } from "./kinds.ts";
import { decodeLink } from "./link.ts";
import { linkAttrs } from "./link-attrs.ts";
import { decodeNeighbour, neighbourAttrs } from "./neighbour.ts";
import { decodeQdisc } from "./qdisc.ts";
import { decodeRoute, routeAttrs } from "./route.ts";
import { decodeRule, ruleAttrs } from "./rule.ts";
import { tcAttrs } from "./traffic-control.ts";

const subjects = [
  { file: "golden/link.txt", head: 16, attrs: linkAttrs, meaning: decodeLink },
  {
    file: "golden/tunnel.txt",
    head: 16,
    attrs: linkAttrs,
    meaning: (m: Pick<Message, "body">) => linkTypeOf(decodeLink(m)),
  },
  { file: "golden/forwarding.txt", head: 12, attrs: entryAttrs, meaning: decodeTunnelEntry },
  { file: "golden/address.txt", head: 8, attrs: addressAttrs, meaning: decodeAddress },
  { file: "golden/route.txt", head: 12, attrs: routeAttrs, meaning: decodeRoute },
  { file: "golden/rule.txt", head: 12, attrs: ruleAttrs, meaning: decodeRule },
  { file: "golden/neighbour.txt", head: 12, attrs: neighbourAttrs, meaning: decodeNeighbour },
  { file: "golden/qdisc.txt", head: 20, attrs: tcAttrs, meaning: decodeQdisc },
  { file: "golden/filter.txt", head: 20, attrs: tcAttrs, meaning: decodeFilter },
] as const;

/** The attributes of one level as text, in an order of their own: the kernel's order carries no meaning. */
function attributes(raw: Uint8Array): readonly string[] {
  const found: string[] = [];
  const view = new DataView(raw.buffer, raw.byteOffset, raw.length);
  for (let at = 0; at < raw.length; at += (view.getUint16(at, true) + 3) & ~3)
    found.push(`${view.getUint16(at + 2, true) & 0x3fff} (${view.getUint16(at, true)} bytes)`);
  return found.toSorted();
}

describe.each(subjects)("what the kernel says, in $file", ({ file, head, attrs, meaning }) => {
  const captures = readGolden(new URL(file, import.meta.url));

  test.each(captures)("$facts.expect", ({ bytes, facts }) => {
    expect(meaning({ body: bytes })).toEqual(parse(facts["expect"] ?? "") as never);
  });

  test("keeps every attribute when it is read and written again", () => {
    for (const { bytes } of captures) {
      const raw = bytes.subarray(head);
      const value = attrs.decode(raw);
      const again = attrs.encode(value as never);
      expect(attributes(again)).toEqual(attributes(raw));
      expect(attrs.decode(again)).toEqual(value);
    }
  });
});
