/** This host as the agent needs it: the link to the others, its addresses, and who is behind no router. */
import type { Publics, Subnets } from "../fabric/model.ts";
import { type Ip, network } from "../net/ip.ts";
import type { WireguardKeyPair } from "../net/wireguard-key.ts";
import type { NetlinkSocket } from "../netlink/socket.ts";
import { reachesDirectly, readHostNetwork } from "../providers/flannel/external-facts.ts";
import { chooseExternal, type External, type HostNetwork } from "../providers/flannel/external-interface.ts";
import type { ExternalWish } from "../providers/flannel/options.ts";
import type { Host } from "./model.ts";
import { showPublics } from "./show.ts";

/** What is asked of the kernel. */
export interface HostSource {
  readonly read: (wish: ExternalWish) => HostNetwork;
  /** True if the kernel reaches the address over that link without a gateway. */
  readonly isDirect: (link: External["link"], to: Ip) => boolean;
}

export interface HostLook {
  /** Addresses that are announced instead of the host's own. */
  readonly told?: Publics | undefined;
  /** Those that the host has. */
  readonly keys?: WireguardKeyPair | undefined;
  /** The host's addresses as it was seen last. */
  readonly before?: Publics | undefined;
}

/** Looks at the host, each time anew. */
export type LookAtHost = (whole: Subnets, how?: HostLook) => Host;

/** Of more answers than this, most are of nodes that have gone: all are asked for anew. */
const MOST_ANSWERS = 32_768;

/**
 * Which hosts are reached directly is asked of the kernel when a transport wants to know it, and again at each look: if one of
 * the answers changed, the host has changed.
 */
export function hostLooker({ read, isDirect }: HostSource, wish: ExternalWish): LookAtHost {
  let known = new Map<string, { readonly ip: Ip; readonly is: boolean }>();
  let generation = 0;
  let last = "";
  return (whole, { told, keys, before } = {}) => {
    const wanted = { ...wish, publics: { ...wish.publics, ...told } };
    const seen = { ...read(wanted), ...(before ? { before } : {}) };
    const families = { v4: whole.v4 !== undefined, v6: whole.v6 !== undefined };
    const { link, local, publics } = chooseExternal(seen, wanted, families);
    const addresses = `${showPublics(local)} ${showPublics(publics)}`;
    const key = `${link.index} ${link.name} ${link.mtuBytes} ${addresses} ${keys?.publicKey ?? "-"}`;
    const again = new Map<string, { readonly ip: Ip; readonly is: boolean }>();
    const isFull = known.size > MOST_ANSWERS;
    if (key === last && !isFull)
      for (const [text, { ip }] of known) again.set(text, { ip, is: isDirect(link, ip) });
    if (key !== last || isFull || [...again].some(([text, { is }]) => is !== known.get(text)?.is)) {
      known = again;
      generation++;
    }
    last = key;
    const answers = known;
    const names = new Map(seen.links.map(({ index, name }) => [index, name]));
    const locals = seen.addresses.flatMap(({ index, prefix }) => {
      const name = names.get(index);
      return name === undefined ? [] : [{ link: name, prefix: network(prefix) }];
    });
    return {
      facts: {
        external: { name: link.name, mtuBytes: link.mtuBytes },
        local,
        ...(keys ? { keys } : {}),
        isDirect: (ip) => {
          const before = answers.get(ip.text);
          if (before !== undefined) return before.is;
          const is = isDirect(link, ip);
          answers.set(ip.text, { ip, is });
          return is;
        },
      },
      publics,
      locals,
      key: `${key} ${generation} ${locals.map(({ link: on, prefix }) => `${on} ${prefix.text}`).join(" ")}`,
    };
  };
}

/** The namespace of the socket. */
export const kernelSource = (socket: NetlinkSocket): HostSource => ({
  read: (wish) => readHostNetwork(socket, wish),
  isDirect: (link, to) => reachesDirectly(socket, link, to),
});
