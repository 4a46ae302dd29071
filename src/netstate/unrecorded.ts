import { listMarked } from "../firewall/nftables-marked.ts";
import { showData } from "../firewall/nftables-layout.ts";
import { openNetlink } from "../netlink/socket.ts";
import { openRuleSet } from "../nft/available.ts";
import { listLinks } from "../rtnl/link.ts";
import type { Mark } from "../firewall/model.ts";
import { peekRecord } from "./record.ts";

/**
 * What the kernel has of attachments whose records are lost: links of the host and elements of nftables that carry a mark,
 * by that mark. What is inside of containers, and what only a record could tell, is not seen.
 */
export function listUnrecorded(): ReadonlyMap<Mark, readonly string[]> {
  const first = readMarks();
  const lost = [...first.keys()].filter((mark) => peekRecord(mark) === undefined);
  if (lost.length === 0) return new Map();
  // What goes at this moment has lost its record first, or is gone at a second look.
  const again = readMarks();
  return new Map(
    lost.flatMap((mark) => {
      const what = again.get(mark);
      return what === undefined || peekRecord(mark) !== undefined ? [] : [[mark, what] as const];
    }),
  );
}

/** Marks of attachments. Names of what attachments share begin the same: `heddle-vlan-gateway-BRIDGE.VLAN`. */
const isMark = (name: string): boolean => /^heddle-.+-[0-9a-f]{12}-[0-9a-f]{16}$/.test(name);

function readMarks(): ReadonlyMap<Mark, readonly string[]> {
  const found = new Map<Mark, string[]>();
  const note = (mark: Mark, what: string): void => {
    found.set(mark, [...(found.get(mark) ?? []), what]);
  };
  using socket = openNetlink("route");
  for (const { name, altNames } of listLinks(socket))
    for (const mark of altNames.filter(isMark)) note(mark, `link ${name}`);
  using rules = openRuleSet();
  if (rules === undefined) return found;
  for (const { table, set, element } of listMarked(rules, isMark))
    note(element.comment ?? "", `nftables ${table.family} ${set.name} ${showData(element.key)}`);
  return found;
}
