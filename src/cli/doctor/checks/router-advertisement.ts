/** A default route that came from a router, on a link that no longer listens to it because the host forwards. */
import { sysctlCommand } from "../commands.ts";
import type { HostFacts } from "../facts.ts";
import { type Check, problem, whenSeen } from "../finding.ts";
import { routeProtocol } from "../../../rtnl/route.ts";
import { allSeen } from "../seen.ts";

export const routerAdvertisement: Check<Pick<HostFacts, "net">> = {
  ids: ["router-advertisement"],
  run: ({ net }) =>
    whenSeen(
      "router-advertisement",
      allSeen({ links: net.links, routes: net.routes, sysctls: net.sysctls }),
      ({ links, routes, sysctls }) => {
        const learned = new Set(
          routes
            .filter(
              (r) =>
                r.dst.ip.family === 6 && r.dst.bits === 0 && r.protocol === routeProtocol.routerAdvertisement,
            )
            .map((r) => r.oif),
        );
        return links
          .filter((link) => learned.has(link.index))
          .flatMap(({ name }) => {
            const forwards = sysctls.get(`net/ipv6/conf/${name}/forwarding`);
            const accepts = sysctls.get(`net/ipv6/conf/${name}/accept_ra`);
            // With 0 a program such as systemd-networkd listens in the kernel's place.
            if (forwards !== "1" || accepts !== "1") return [];
            const seen = `the default route over ${name} came from a router's advertisement, ${name} forwards, and its accept_ra is 1`;
            const cure = sysctlCommand(`net/ipv6/conf/${name}/accept_ra`, "2");
            return [problem("router-advertisement", name, seen, cure)];
          });
      },
    ),
};
