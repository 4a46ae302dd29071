/** Whether the kernel has nftables at all: what it does not have holds nothing of ours, so that removal is done. */
import { isNetError } from "../errors.ts";
import { type NetlinkSocket, openNetlink } from "../netlink/socket.ts";
import { generation } from "./list.ts";

/**
 * A socket for the rule set of the namespace that this thread is in; undefined on a kernel without netlink for netfilter
 * (EPROTONOSUPPORT), or without nf_tables behind it (EINVAL).
 */
export function openRuleSet(): NetlinkSocket | undefined {
  let socket: NetlinkSocket | undefined;
  try {
    socket = openNetlink("netfilter");
    generation(socket);
    return socket;
  } catch (e) {
    socket?.[Symbol.dispose]();
    const absent =
      (isNetError(e, "sys/call") && e.detail.call === "socket" && e.detail.errno === "EPROTONOSUPPORT") ||
      (isNetError(e, "netlink/refused") && ["EINVAL", "EOPNOTSUPP"].includes(e.detail.errno));
    if (absent) return undefined;
    throw e;
  }
}
