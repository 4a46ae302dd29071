/**
 * Parameters of IPv4 on one link, set by a request about the link. They are those of /proc/sys/net/ipv4/conf/LINK, where only
 * who finds that writable can set them: not a pod that is not privileged, whatever it may do with links.
 */
import type { NetlinkSocket } from "../netlink/socket.ts";
import type { Request } from "../netlink/message.ts";
import { attrs, fixedAttr } from "../wire/attrs.ts";
import { u32 } from "../wire/fixed.ts";
import { linkBody, linkRequest } from "./link.ts";

/** IPV4_DEVCONF_* (linux/ip.h), within IFLA_INET_CONF (linux/if_link.h), within AF_INET, within IFLA_AF_SPEC. */
const parameters = attrs("IPV4_DEVCONF", { acceptLocal: [23, fixedAttr(u32)] });
const inet = attrs("IFLA_INET", { conf: [1, parameters] });
const families = attrs("IFLA_AF_SPEC", { inet: [2, inet] });
const IFLA_AF_SPEC = 26;

export interface InetParameters {
  /** Packets from outside may come from an address of this host. */
  readonly acceptLocal: boolean;
}

export function inetParametersRequest(name: string, { acceptLocal }: InetParameters): Request {
  const spec = families.encode({ inet: { conf: { acceptLocal: Number(acceptLocal) } } });
  const body = linkBody({}, { name, unknown: [{ type: IFLA_AF_SPEC, flags: families.flags, bytes: spec }] });
  return linkRequest("NEWLINK", `${name} (IPv4 parameters)`, 0, body);
}

/** @throws netlink/refused: ENODEV without such a link */
export function setInetParameters(socket: NetlinkSocket, name: string, parameters: InetParameters): void {
  socket.request(inetParametersRequest(name, parameters));
}
