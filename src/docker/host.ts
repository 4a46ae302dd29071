/** What the plugin looks at in the host before it decides. It is in the host's namespace, and stays there. */
import type { IpPrefix } from "../net/ip.ts";
import { openNetlink } from "../netlink/socket.ts";
import { allRoutes, findUplink } from "../netstate/routing-facts.ts";
import { readText, unlessErrno } from "../sys/files.ts";
import type { HostView } from "./book.ts";
import { listeningPorts } from "./ports.ts";

export const hostView: HostView = {
  uplink() {
    using socket = openNetlink("route");
    return findUplink(socket)?.name;
  },
  routed(): readonly IpPrefix[] {
    using socket = openNetlink("route");
    return allRoutes(socket).map(({ dst }) => dst);
  },
  listening: () =>
    (["tcp", "udp"] as const).flatMap((protocol) =>
      ["", "6"].flatMap((family) =>
        // Without IPv6 there is no table of it.
        listeningPorts(
          unlessErrno(["ENOENT"], () => readText(`/proc/net/${protocol}${family}`)) ?? "",
          protocol,
        ),
      ),
    ),
};
