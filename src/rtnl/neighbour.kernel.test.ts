import { expect } from "bun:test";
import { localMac } from "../net/mac.ts";
import { openNetlink } from "../netlink/socket.ts";
import { inNetns, openNetns } from "../sys/netns.ts";
import { kernelTest } from "../testing/needs.ts";
import { testNetns } from "../testing/netns.ts";
import { createBridge, getLink, setLink } from "./link.ts";
import { listNeighbours, type Neighbour, removeNeighbour, setNeighbour } from "./neighbour.ts";
import { ip } from "../testing/address.ts";

const mac = (n: number) => localMac(Uint8Array.of(2, 0, 0, 0, 0, n));
/** Without the multicast groups that every link has. */
const known = (list: readonly Neighbour[]): Neighbour[] => list.filter((n) => n.state !== "noArp");

kernelTest("a neighbour is made, changed, listed by its link and removed", async () => {
  await using netns = await testNetns();
  using handle = openNetns(netns.path);
  using socket = inNetns(handle, () => openNetlink("route"));
  const links = ["br0", "br1"].map((name, i) => {
    createBridge(socket, { name, mac: mac(i) });
    setLink(socket, { name }, { up: true });
    return getLink(socket, { name }).index;
  });
  const [link = 0, other = 0] = links;
  setNeighbour(socket, { link, ip: ip("10.0.0.2"), mac: mac(8) });
  setNeighbour(socket, { link, ip: ip("10.0.0.2"), mac: mac(9) });
  setNeighbour(socket, { link: other, ip: ip("10.0.0.3"), mac: mac(7), state: "stale" });
  setNeighbour(socket, { link, ip: ip("fd00::2"), mac: mac(6) });
  const first: Neighbour = { link, ip: ip("10.0.0.2"), mac: mac(9), state: "permanent" };
  expect(known(listNeighbours(socket, 4, link))).toEqual([first]);
  expect(known(listNeighbours(socket, 4)).length).toBe(2);
  expect(known(listNeighbours(socket, 6))).toEqual([
    { link, ip: ip("fd00::2"), mac: mac(6), state: "permanent" },
  ]);
  expect([removeNeighbour(socket, first), removeNeighbour(socket, first)]).toEqual([true, false]);
  expect(removeNeighbour(socket, { link: 999, ip: ip("10.0.0.2") })).toBeFalse();
  expect(known(listNeighbours(socket, 4, link))).toEqual([]);
});
