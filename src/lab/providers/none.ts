/**
 * No provider: every host has a bridge of its own, by an ordinary list of plugins. Containers of one host reach one another and
 * their host, and hosts reach hosts; nothing leads from a container to those of another host.
 */
import type { Family } from "../../net/ip.ts";
import type { Provider } from "../provider.ts";

export const NETWORK = "lab";

/** The subnet of a host's containers. */
const subnetOf = (family: Family, host: number): string =>
  family === 4 ? `10.244.${host}.0/24` : `fd00:244:0:${host}::/64`;

export const none: Provider = {
  joinsHosts: false,
  defaultBackend: "",
  setup: ({ underlay, number }) => {
    const list = {
      cniVersion: "1.1.0",
      name: NETWORK,
      plugins: [
        {
          type: "bridge",
          bridge: "cni0",
          isGateway: true,
          ipMasq: true,
          ipam: {
            type: "host-local",
            ranges: underlay.families.map((family) => [{ subnet: subnetOf(family, number) }]),
            routes: underlay.families.map((family) => ({ dst: family === 4 ? "0.0.0.0/0" : "::/0" })),
          },
        },
      ],
    };
    return {
      files: { [`/etc/cni/net.d/10-${NETWORK}.conflist`]: `${JSON.stringify(list, undefined, 2)}\n` },
      programs: [],
      readyWhen: [],
    };
  },
};
