import type { NetlinkSocket } from "../netlink/socket.ts";
import { listElements } from "../nft/list.ts";
import type { Mark } from "./model.ts";
import { markedSets } from "./nftables-layout.ts";
import type { Placed } from "./nftables-parts.ts";

/** Every element of our tables whose mark is asked for. Reads all sets. */
export const listMarked = (socket: NetlinkSocket, asked: (mark: Mark) => boolean): Placed[] =>
  markedSets.flatMap(({ table, set }) =>
    listElements(socket, table, set)
      .filter((e) => e.comment !== undefined && asked(e.comment))
      .map((element) => ({ table, set, element })),
  );
