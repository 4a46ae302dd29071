/** Whether IPsec has policies here (NETLINK_XFRM; linux/xfrm.h): they take packets out of the way that routing gives them. */
import { isNetError } from "../errors.ts";
import { openNetlink } from "../netlink/socket.ts";

const XFRM_MSG_GETPOLICY = 21;
/** `struct xfrm_userpolicy_id`, which a list does not look at. */
const POLICY_ID_BYTES = 64;

/** Of the namespace that this thread is in; undefined if the kernel does not tell. A kernel without IPsec has none. */
export function hasIpsecPolicies(): boolean | undefined {
  try {
    using socket = openNetlink("ipsec");
    const body = new Uint8Array(POLICY_ID_BYTES);
    return socket.dump({ type: XFRM_MSG_GETPOLICY, flags: 0, body, what: "XFRM_MSG_GETPOLICY" }).length > 0;
  } catch (e) {
    if (isNetError(e, "sys/call") && e.detail.errno === "EPROTONOSUPPORT") return false;
    if (isNetError(e, "netlink/refused") || isNetError(e, "sys/call")) return undefined;
    throw e;
  }
}
