import { type Ip, ipFromBytes, type IpPrefix, lastIp, prefix } from "../net/ip.ts";
import { type Message, NLM_F } from "../netlink/message.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { attrs, bytes, cstr, fixedAttr } from "../wire/attrs.ts";
import { encodeFixed, struct, u32, u8, viewOf } from "../wire/fixed.ts";

/** Addresses of links (`struct ifaddrmsg`, linux/if_addr.h). */
const RTM = { NEWADDR: 20, DELADDR: 21, GETADDR: 22 } as const;
const ifaddrmsg = struct("ifaddrmsg", 8, { family: u8, bits: u8, flags: u8, scope: u8, index: u32 });
export const addressAttrs = attrs("IFA", {
  address: [1, bytes],
  local: [2, bytes],
  label: [3, cstr],
  broadcast: [4, bytes],
  flags: [8, fixedAttr(u32)],
});

/** AF_INET and AF_INET6 (linux/socket.h). */
export const addressFamily = (ip: Ip): number => (ip.family === 4 ? 2 : 10);

/** IFA_F_* (linux/if_addr.h). */
const FLAG = {
  secondary: 0x01,
  nodad: 0x02,
  optimistic: 0x04,
  dadFailed: 0x08,
  deprecated: 0x20,
  tentative: 0x40,
  permanent: 0x80,
  noPrefixRoute: 0x200,
} as const;

export interface Address {
  readonly index: number;
  readonly prefix: IpPrefix;
  readonly tentative: boolean;
  readonly dadFailed: boolean;
  /** False for an address that the kernel made from a router's advertisement. */
  readonly permanent: boolean;
  readonly linkLocal: boolean;
  /** The kernel made no route to its network. */
  readonly noPrefixRoute?: true;
  /** IPv4: behind another address of its network. IPv6: for a time, for privacy (RFC 8981). */
  readonly secondary?: true;
  /** Not to be used for what begins now (RFC 4862). */
  readonly deprecated?: true;
}

export function decodeAddress(m: Pick<Message, "body">): Address {
  const head = ifaddrmsg.get(viewOf(m.body), 0);
  const a = addressAttrs.decode(m.body.subarray(ifaddrmsg.size));
  const flags = a.flags ?? head.flags;
  return {
    index: head.index,
    // On a point-to-point link IFA_ADDRESS is the other end; IFA_LOCAL is ours wherever it is given.
    prefix: prefix(ipFromBytes(a.local ?? a.address ?? new Uint8Array(4)), head.bits),
    tentative: (flags & FLAG.tentative) !== 0,
    dadFailed: (flags & FLAG.dadFailed) !== 0,
    permanent: (flags & FLAG.permanent) !== 0,
    linkLocal: head.scope === 253,
    ...(flags & FLAG.noPrefixRoute ? { noPrefixRoute: true as const } : {}),
    ...(flags & FLAG.secondary ? { secondary: true as const } : {}),
    ...(flags & FLAG.deprecated ? { deprecated: true as const } : {}),
  };
}

const body = (index: number, p: IpPrefix, rest: Parameters<typeof addressAttrs.encode>[0]): Uint8Array => {
  const tail = addressAttrs.encode({ local: p.ip.bytes, address: p.ip.bytes, ...rest });
  const out = new Uint8Array(ifaddrmsg.size + tail.length);
  ifaddrmsg.set(viewOf(out), 0, { family: addressFamily(p.ip), bits: p.bits, flags: 0, scope: 0, index });
  out.set(tail, ifaddrmsg.size);
  return out;
};

/**
 * Duplicate address detection of an IPv6 address. True: it cannot be used before the detection has ended. False: there
 * is none. `optimistic` (RFC 4429): it can be used meanwhile, if the sysctl `optimistic_dad` of its link allows it and
 * the namespace does not forward; as true otherwise.
 */
export type Dad = boolean | "optimistic";

/**
 * Adds an address, in IPv6 with this kind of duplicate address detection. `connectedRoute: false` keeps the kernel from making a route to its network. Returns false if the link has exactly
 * this address already.
 */
export function addAddress(
  socket: NetlinkSocket,
  index: number,
  address: IpPrefix,
  options: { readonly dad: Dad; readonly connectedRoute: boolean },
): boolean {
  const ipv4 = address.ip.family === 4;
  const broadcast = ipv4 && address.bits < 31 ? { broadcast: lastIp(address).bytes } : {};
  const dad = options.dad === "optimistic" ? FLAG.optimistic : options.dad ? 0 : FLAG.nodad;
  const flags = (ipv4 ? 0 : dad) | (options.connectedRoute ? 0 : FLAG.noPrefixRoute);
  const answer = socket.tryRequest(
    {
      type: RTM.NEWADDR,
      flags: NLM_F.CREATE | NLM_F.EXCL,
      body: body(index, address, { ...broadcast, ...(flags ? { flags } : {}) }),
      what: `RTM_NEWADDR ${address.text}`,
    },
    "EEXIST",
  );
  return answer !== "EEXIST";
}

/** Removes an address. Returns false if it or its link is not there. */
export function removeAddress(socket: NetlinkSocket, index: number, address: IpPrefix): boolean {
  const answer = socket.tryRequest(
    { type: RTM.DELADDR, flags: 0, body: body(index, address, {}), what: `RTM_DELADDR ${address.text}` },
    "EADDRNOTAVAIL",
    "ENODEV",
  );
  return typeof answer !== "string";
}

/** The kernel's own messages, for captures; of one link, or of all with index 0. */
export function addressDump(socket: NetlinkSocket, index: number): Message[] {
  const head = encodeFixed(ifaddrmsg, { family: 0, bits: 0, flags: 0, scope: 0, index });
  return socket.dump({ type: RTM.GETADDR, flags: 0, body: head, what: `RTM_GETADDR ${index || "all"}` });
}

/** The addresses of one link, or of all. */
export const listAddresses = (socket: NetlinkSocket, index = 0): Address[] =>
  addressDump(socket, index)
    .map(decodeAddress)
    .filter((a) => index === 0 || a.index === index);
