/** Sockets that wait for connections or datagrams (NETLINK_SOCK_DIAG; linux/inet_diag.h). */
import { isNetError } from "../errors.ts";
import { type Family, type Ip, ipFromBytes } from "../net/ip.ts";
import { openNetlink } from "../netlink/socket.ts";
import { attrs, fixedAttr } from "../wire/attrs.ts";
import { be16, octets, pad, struct, u32, u8, viewOf } from "../wire/fixed.ts";

const SOCK_DIAG_BY_FAMILY = 20;
const AF = { 4: 2, 6: 10 } as const;
const protocolNumbers = { tcp: 6, udp: 17 } as const;
/** Bits of TCP_LISTEN and TCP_CLOSE; the second is what a datagram socket without a peer is in. */
const waiting = { tcp: 1 << 10, udp: 1 << 7 } as const;

const id = {
  port: be16,
  peerPort: be16,
  address: octets(16),
  _peer: pad(16),
  link: u32,
  _cookie: pad(8),
} as const;
const question = struct("inet_diag_req_v2", 56, {
  family: u8,
  protocol: u8,
  _ext: pad(2),
  states: u32,
  ...id,
});
const answer = struct("inet_diag_msg", 72, {
  family: u8,
  state: u8,
  _timer: pad(2),
  ...id,
  _counts: pad(20),
});
const answerAttrs = attrs("INET_DIAG", { onlyV6: [11, fixedAttr(u8)] });

export interface Listener {
  readonly address: Ip;
  readonly port: number;
  /** Index of the link that it is bound to. */
  readonly link?: number;
  /** An IPv6 socket that takes nothing of IPv4. */
  readonly onlyV6: boolean;
}

/** Listeners of the namespace that this thread is in; undefined if the kernel does not tell. */
export function listListeners(protocol: "tcp" | "udp", family: Family): readonly Listener[] | undefined {
  const body = new Uint8Array(question.size);
  question.set(viewOf(body), 0, {
    family: AF[family],
    protocol: protocolNumbers[protocol],
    states: waiting[protocol],
    port: 0,
    peerPort: 0,
    address: new Uint8Array(16),
    link: 0,
  });
  try {
    using socket = openNetlink("sockets");
    return socket
      .dump({ type: SOCK_DIAG_BY_FAMILY, flags: 0, body, what: `SOCK_DIAG ${protocol}` })
      .map(({ body: found }) => {
        const head = answer.get(viewOf(found), 0);
        const { onlyV6 = 0 } = answerAttrs.decode(found.subarray(answer.size));
        return {
          address: ipFromBytes(head.address.subarray(0, family === 4 ? 4 : 16)),
          port: head.port,
          ...(head.link ? { link: head.link } : {}),
          onlyV6: onlyV6 !== 0,
        };
      });
  } catch (e) {
    // The modules for it are not there, or the protocol is not.
    if (isNetError(e, "netlink/refused") || isNetError(e, "sys/call")) return undefined;
    throw e;
  }
}
