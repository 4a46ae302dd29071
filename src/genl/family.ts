/**
 * Generic netlink (linux/genetlink.h): families get their numbers when they are registered, so a name is looked up first, on a
 * socket of `openNetlink("generic")`.
 */
import { NetError } from "../errors.ts";
import type { Message, Request } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { type Attr, attrs, cstr, fixedAttr } from "../wire/attrs.ts";
import { pad, struct, u16, u32, u8, viewOf } from "../wire/fixed.ts";

export const genlmsghdr = struct("genlmsghdr", 4, { command: u8, version: u8, _reserved: pad(2) });

/** GENL_ID_CTRL and CTRL_CMD_GETFAMILY. */
const CONTROL = 0x10;
const GET_FAMILY = 3;
export const familyAttrs = attrs("CTRL_ATTR", {
  id: [1, fixedAttr(u16)],
  name: [2, cstr],
  version: [3, fixedAttr(u32)],
});

/** A request of one family: `name` is the command's, for people. */
export function genericRequest<T>(
  family: number,
  command: { readonly number: number; readonly name: string },
  table: Attr<T>,
  value: T,
): Request {
  const tail = table.encode(value);
  const body = new Uint8Array(genlmsghdr.size + tail.length);
  genlmsghdr.set(viewOf(body), 0, { command: command.number, version: 1 });
  body.set(tail, genlmsghdr.size);
  return { type: family, flags: 0, body, what: command.name };
}

/** The attributes of an answer. */
export const genericAnswer = <T>(m: Pick<Message, "body">, table: Attr<T>): T =>
  table.decode(m.body.subarray(genlmsghdr.size));

/** The number of a family. @throws feature/missing if this kernel has none of that name */
export function findFamily(socket: NetlinkSocket, name: string): number {
  const id = familyNumber(socket, name);
  if (id === undefined)
    throw new NetError("feature/missing", {
      feature: `${name} over generic netlink`,
      needs: "a kernel that was built with it",
    });
  return id;
}

/** True if the kernel has a family of that name; it may load a module for the answer. */
export const hasFamily = (socket: NetlinkSocket, name: string): boolean =>
  familyNumber(socket, name) !== undefined;

function familyNumber(socket: NetlinkSocket, name: string): number | undefined {
  const what = { number: GET_FAMILY, name: `CTRL_CMD_GETFAMILY ${name}` };
  const answer = socket.tryRequest(genericRequest(CONTROL, what, familyAttrs, { name }), "ENOENT");
  return answer === "ENOENT" || answer[0] === undefined
    ? undefined
    : genericAnswer(answer[0], familyAttrs).id;
}
