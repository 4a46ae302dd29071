import { NetError } from "../../../errors.ts";
import { openNetlink } from "../../../netlink/socket.ts";
import { knowsLinkKind } from "../../../rtnl/create-link.ts";
import { knowsQdisc } from "../../../rtnl/qdisc.ts";

/** Index of the loopback in every namespace. */
const LOOPBACK = 1;

/**
 * STATUS asks the kernel for what every limit needs; nothing is changed by the question.
 * @throws NetError `status/unavailable`
 */
export async function checkKernel(): Promise<void> {
  using socket = openNetlink("route");
  const missing = [
    ...(knowsQdisc(socket, LOOPBACK, "tbf") ? [] : ["the qdisc tbf (module sch_tbf)"]),
    ...(knowsLinkKind(socket, "ifb") ? [] : ["links of kind ifb (module ifb)"]),
  ];
  if (missing.length > 0)
    throw new NetError("status/unavailable", { why: `the kernel lacks ${missing.join(" and ")}` });
}
