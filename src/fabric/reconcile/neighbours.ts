/** Permanent neighbours on links of ours. Those that the kernel learns by itself are its own. */
import type { Ip } from "../../net/ip.ts";
import type { Mac } from "../../net/mac.ts";
import type { Message } from "../../netlink/message.ts";
import {
  decodeNeighbour,
  decodeNeighbourKey,
  listNeighbours,
  neighbourRemoval,
  neighbourSetting,
  RTM,
} from "../../rtnl/neighbour.ts";
import { viewOf } from "../../wire/fixed.ts";
import type { FabricNeighbour } from "../host-state.ts";
import type { KnownLinks } from "./place.ts";
import type { TableKind } from "./table.ts";

interface Found {
  readonly link: number;
  readonly ip: Ip;
  readonly mac?: Mac;
  readonly permanent: boolean;
}

/** Where `ndm_ifindex` stands. */
const LINK_AT = 4;

export const neighbourKind: TableKind<FabricNeighbour, Found> = {
  object: "neighbour",
  keyOf: ({ link, ip }) => `${ip.text} ${link}`,
  keyOfFound: ({ link, ip }, { ours }) => `${ip.text} ${ours.get(link) ?? link}`,
  build({ link, ip, mac }, { byName }) {
    const index = byName.get(link)?.index;
    return index === undefined ? undefined : { link: index, ip, mac, permanent: true };
  },
  list: ({ socket }, { ours }) =>
    [...ours.keys()].flatMap((link) =>
      ([4, 6] as const).flatMap((family) =>
        listNeighbours(socket, family, link)
          .filter((n) => n.link === link)
          .map(({ ip, mac, state }) => found({ link, ip }, mac, state === "permanent")),
      ),
    ),
  read(message: Message, { ours }: KnownLinks) {
    const gone = message.type === RTM.DELNEIGH;
    if (!gone && message.type !== RTM.NEWNEIGH) return undefined;
    // Most events of a busy host are about links of containers.
    if (message.body.length < 8 || !ours.has(viewOf(message.body).getInt32(LINK_AT, true))) return undefined;
    const key = decodeNeighbourKey(message);
    if (key === undefined) return undefined;
    const now = gone ? undefined : decodeNeighbour(message);
    // Somebody removes it: that it is gone is told next.
    if (now?.state === "failed") return undefined;
    return { found: found(key, now?.mac, now?.state === "permanent"), gone };
  },
  fits: (built, { link, mac, permanent }) => permanent && built.link === link && built.mac === mac,
  isSame: () => true,
  isOurs: ({ permanent }) => permanent,
  put: ({ link, ip, mac }) => neighbourSetting({ link, ip, mac: mac as NonNullable<typeof mac> }),
  remove: neighbourRemoval,
  goneErrors: ["ENOENT", "ENODEV", "ENXIO"],
};

const found = (key: Pick<Found, "link" | "ip">, mac: Mac | undefined, permanent: boolean): Found => ({
  ...key,
  ...(mac ? { mac } : {}),
  permanent,
});
