import { expect } from "bun:test";
import { parseMac } from "../net/mac.ts";
import { createBridge, decodeLink, listLinks, removeLink } from "../rtnl/link.ts";
import { inNetns, type Netns, openNetns } from "../sys/netns.ts";
import { openDescriptors } from "../testing/census.ts";
import { kernelTest } from "../testing/needs.ts";
import { testNetns } from "../testing/netns.ts";
import { type NetlinkEvent, type NetlinkWatch, watchNetlink } from "./events.ts";
import { type NetlinkSocket, openNetlink, openRaw } from "./socket.ts";

/** RTMGRP_LINK (linux/rtnetlink.h), RTM_NEWLINK and RTM_DELLINK. */
const LINK_GROUP = 1;
const NEW_LINK = 16;
const DEL_LINK = 17;

const parsed = parseMac("02:00:00:00:00:01");
if (!parsed.ok) throw new TypeError(parsed.why);
const mac = parsed.value;

const watchIn = (netns: Netns, receiveBytes: number, queueLength?: number): Promise<NetlinkWatch> =>
  watchNetlink(
    { protocol: "route", groups: LINK_GROUP, name: "links", ...(queueLength ? { queueLength } : {}) },
    () => inNetns(netns, () => openRaw("route", LINK_GROUP, receiveBytes)),
  );

const take = async (events: AsyncIterator<NetlinkEvent>): Promise<NetlinkEvent> => {
  const { value, done } = await events.next();
  if (done) throw new Error("the events ended");
  return value;
};

/** Follows links as a consumer does, until it sees `last`. Returns the picture and how often it listed. */
async function follow(
  events: AsyncIterator<NetlinkEvent>,
  socket: NetlinkSocket,
  last: string,
): Promise<{ names: Set<string>; lists: number }> {
  const links = new Map<number, string>();
  let lists = 0;
  while (![...links.values()].includes(last)) {
    const event = await take(events);
    if (event.kind === "relist") {
      lists++;
      links.clear();
      for (const link of listLinks(socket)) links.set(link.index, link.name);
    } else
      for (const m of event.messages) {
        const link = decodeLink(m);
        if (m.type === NEW_LINK) links.set(link.index, link.name);
        else if (m.type === DEL_LINK) links.delete(link.index);
      }
  }
  return { names: new Set(links.values()), lists };
}

kernelTest(
  "the first event asks for a list, the next ones are the kernel's, and disposing ends them",
  async () => {
    await using place = await testNetns();
    using netns = openNetns(place.path);
    using socket = inNetns(netns, () => openNetlink("route"));
    const watch = await watchIn(netns, 1 << 20);
    const events = watch[Symbol.asyncIterator]();
    expect(await take(events)).toEqual({ kind: "relist" });
    createBridge(socket, { name: "one", mac });
    const event = await take(events);
    expect(event.kind === "messages" && event.messages.map((m) => decodeLink(m).name)).toContain("one");
    const waiting = events.next();
    await watch[Symbol.asyncDispose]();
    expect((await waiting).done).toBeTrue();
    expect((await events.next()).done).toBeTrue();
  },
);

kernelTest("an overrun asks for a list again and the picture is right in the end", async () => {
  await using place = await testNetns();
  using netns = openNetns(place.path);
  using socket = inNetns(netns, () => openNetlink("route"));
  await using watch = await watchIn(netns, 4096);
  const events = watch[Symbol.asyncIterator]();
  expect(await take(events)).toEqual({ kind: "relist" });
  // The event loop does not run meanwhile, so that the small buffer must overrun.
  for (let i = 0; i < 30; i++) {
    createBridge(socket, { name: `b${i}`, mac });
    if (i % 2 === 0) removeLink(socket, { name: `b${i}` });
  }
  createBridge(socket, { name: "last", mac });
  const { names, lists } = await follow(events, socket, "last");
  expect(lists).toBeGreaterThan(0);
  expect([...names].sort()).toEqual(
    listLinks(socket)
      .map((l) => l.name)
      .sort(),
  );
  // The new socket delivers as the first one did.
  createBridge(socket, { name: "after", mac });
  const after = await take(events);
  expect(after.kind === "messages" && after.messages.map((m) => decodeLink(m).name)).toContain("after");
});

kernelTest("a consumer that is too slow is told to list instead of being given everything", async () => {
  await using place = await testNetns();
  using netns = openNetns(place.path);
  using socket = inNetns(netns, () => openNetlink("route"));
  await using watch = await watchIn(netns, 1 << 20, 4);
  const events = watch[Symbol.asyncIterator]();
  for (let i = 0; i < 20; i++) createBridge(socket, { name: `b${i}`, mac });
  // A second watch that hears of a later change proves that the first one was given all of these.
  await using other = await watchIn(netns, 1 << 20);
  createBridge(socket, { name: "last", mac });
  await follow(other[Symbol.asyncIterator](), socket, "last");
  const { names, lists } = await follow(events, socket, "last");
  expect(lists).toBe(1);
  expect([...names].sort()).toEqual(
    listLinks(socket)
      .map((l) => l.name)
      .sort(),
  );
});

const sockets = (): string[] =>
  [...openDescriptors().values()].filter((target) => target.startsWith("socket:"));

kernelTest("a watch leaves no descriptor behind, not even after overruns", async () => {
  await using place = await testNetns();
  using netns = openNetns(place.path);
  using socket = inNetns(netns, () => openNetlink("route"));
  createBridge(socket, { name: "warm", mac });
  await (await watchIn(netns, 4096))[Symbol.asyncDispose]();
  const before = new Set(sockets());
  {
    await using watch = await watchIn(netns, 4096);
    const events = watch[Symbol.asyncIterator]();
    await take(events);
    for (let i = 0; i < 30; i++) createBridge(socket, { name: `b${i}`, mac });
    await follow(events, socket, "b29");
  }
  // The event loop closes a descriptor at the end of its turn.
  await new Promise(setImmediate);
  // Sockets of earlier tests may still go; none may have come.
  expect(sockets().filter((s) => !before.has(s))).toEqual([]);
});
