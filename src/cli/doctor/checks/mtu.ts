/** Links of different size: packets that a container may send and a link on their way does not take. */
import { some } from "../commands.ts";
import type { HostFacts } from "../facts.ts";
import { type Check, warning, whenSeen } from "../finding.ts";
import { allSeen } from "../seen.ts";

export const mtu: Check<Pick<HostFacts, "net">> = {
  ids: ["mtu-uplink", "mtu-ports"],
  run: ({ net }) => [
    ...whenSeen("mtu-uplink", allSeen({ links: net.links, uplink: net.uplink }), ({ links, uplink }) => {
      if (uplink === undefined) return [];
      return links
        .filter((l) => l.kind === "bridge" && l.index !== uplink.index && l.mtuBytes > uplink.mtuBytes)
        .filter((l) => links.some((port) => port.master === l.index))
        .map((l) =>
          warning(
            "mtu-uplink",
            l.name,
            `bridge ${l.name} has an MTU of ${l.mtuBytes}, and the uplink ${uplink.name} one of ${uplink.mtuBytes}`,
            `set "mtu": ${uplink.mtuBytes} in the network's bridge entry, and attach its containers again`,
          ),
        );
    }),
    ...whenSeen("mtu-ports", net.links, (links) =>
      links
        .filter((l) => l.kind === "bridge")
        .flatMap((bridge) => {
          const ports = links.filter((l) => l.master === bridge.index);
          const others = ports.filter((p) => p.mtuBytes < Math.max(...ports.map((q) => q.mtuBytes)));
          if (others.length === 0) return [];
          const most = Math.max(...ports.map((p) => p.mtuBytes));
          const seen = `ports of ${bridge.name} have an MTU of ${most}, and ${some(others.map((p) => `${p.name} ${p.mtuBytes}`))}`;
          return [
            warning(
              "mtu-ports",
              bridge.name,
              seen,
              `set the same "mtu" for every network on ${bridge.name}, and attach the containers again`,
              ...others.slice(0, 1).map((p) => `ip link set ${p.name} mtu ${most}`),
            ),
          ];
        }),
    ),
  ],
};
