import { expect } from "bun:test";
import { type NetlinkSocket, openNetlink } from "../netlink/socket.ts";
import { inNetns, openNetns } from "../sys/netns.ts";
import { testWith } from "../testing/needs.ts";
import { type TestNetns, testNetns } from "../testing/netns.ts";
import { addRedirect, listFilters, removeFilters } from "./filter.ts";
import { getLink } from "./link.ts";
import { namespaceNumber } from "./nsid.ts";
import { addQdisc, findQdisc, knowsQdisc, listQdiscs, removeQdisc } from "./qdisc.ts";
import { tokenBucket } from "./token-bucket.ts";

const tcTest = testWith({ root: true, programs: ["ip", "tc"] });
const HANDLE = 0x68640000;
const bucket = tokenBucket(1_000_000, 100_000, 25);

function socketIn(netns: TestNetns): NetlinkSocket {
  using handle = openNetns(netns.path);
  return inNetns(handle, () => openNetlink("route"));
}

/** Two ends of a pair, up. */
async function pairIn(netns: TestNetns, socket: NetlinkSocket): Promise<readonly [number, number]> {
  await netns.exec(["ip", "link", "add", "e0", "type", "veth", "peer", "name", "e1"]);
  for (const end of ["e0", "e1"]) await netns.exec(["ip", "link", "set", end, "up"]);
  return [getLink(socket, { name: "e0" }).index, getLink(socket, { name: "e1" }).index];
}
const shown = async (netns: TestNetns, ...words: string[]): Promise<string> =>
  (await netns.exec(["tc", ...words])).stdout;

tcTest("a token bucket is read back as it was made, and prints as tc would make it", async () => {
  await using netns = await testNetns();
  using socket = socketIn(netns);
  const [a] = await pairIn(netns, socket);
  expect(findQdisc(socket, a, "root")).toMatchObject({ handle: 0, type: { name: "noqueue" } });
  expect(addQdisc(socket, a, bucket, HANDLE)).toBe(true);
  expect(findQdisc(socket, a, "root")).toMatchObject({ link: a, handle: HANDLE, type: bucket });
  expect(listQdiscs(socket).filter((q) => q.link === a)).toHaveLength(1);
  expect(await shown(netns, "qdisc", "show", "dev", "e0")).toMatch(
    /^qdisc tbf 6864: root refcnt \d+ rate 8Mbit burst 100000b lat 25ms/,
  );
});

tcTest("what somebody else has put at the root of a link is neither replaced nor removed", async () => {
  await using netns = await testNetns();
  using socket = socketIn(netns);
  const [a] = await pairIn(netns, socket);
  await netns.exec(["tc", "qdisc", "add", "dev", "e0", "root", "handle", "7:", "pfifo"]);
  expect(addQdisc(socket, a, bucket, HANDLE)).toBe(false);
  expect(removeQdisc(socket, a, "root", HANDLE)).toBe(false);
  expect(findQdisc(socket, a, "root")?.type).toEqual({ kind: "opaque", name: "pfifo" });
});

tcTest("a qdisc is removed once, and a link that is gone has none", async () => {
  await using netns = await testNetns();
  using socket = socketIn(netns);
  const [a] = await pairIn(netns, socket);
  addQdisc(socket, a, bucket, HANDLE);
  addQdisc(socket, a, { kind: "clsact" });
  expect([removeQdisc(socket, a, "root", HANDLE), removeQdisc(socket, a, "root", HANDLE)]).toEqual([
    true,
    false,
  ]);
  expect([removeQdisc(socket, a, "ingress"), removeQdisc(socket, a, "ingress")]).toEqual([true, false]);
  expect(findQdisc(socket, 4711, "root")).toBeUndefined();
  expect(removeQdisc(socket, 4711, "root", HANDLE)).toBe(false);
});

for (const hook of ["clsact", "ingress"] as const)
  tcTest(`what a link receives goes through another one, beside filters of others (${hook})`, async () => {
    await using netns = await testNetns();
    using socket = socketIn(netns);
    const [a, b] = await pairIn(netns, socket);
    expect(listFilters(socket, a)).toEqual([]);
    expect(removeFilters(socket, a, 65_000)).toBe(false);
    await netns.exec(["tc", "qdisc", "add", "dev", "e0", hook]);
    expect(addQdisc(socket, a, { kind: "clsact" })).toBe(false);
    expect(findQdisc(socket, a, "ingress")?.type).toEqual({ kind: hook });
    const others = "filter add dev e0 ingress prio 5 protocol ip u32 match ip dst 192.0.2.1 flowid 1:1";
    await netns.exec(["tc", ...others.split(" ")]);
    addRedirect(socket, { link: a, priority: 65_000, to: b });
    expect(listFilters(socket, a).find((f) => f.redirectsTo !== undefined)).toMatchObject({
      priority: 65_000,
      redirectsTo: b,
    });
    expect(await shown(netns, "filter", "show", "dev", "e0", "ingress")).toContain(
      "Egress Redirect to device e1",
    );
    expect([removeFilters(socket, a, 65_000), removeFilters(socket, a, 65_000)]).toEqual([true, false]);
    expect(new Set(listFilters(socket, a).map((f) => f.priority))).toEqual(new Set([5]));
  });

tcTest("a kernel is asked for a kind of qdisc without anything being changed", async () => {
  await using netns = await testNetns();
  using socket = socketIn(netns);
  const before = await shown(netns, "qdisc", "show");
  expect(knowsQdisc(socket, 1, "tbf")).toBe(true);
  expect(knowsQdisc(socket, 1, "tbg" as "tbf")).toBe(false);
  expect(await shown(netns, "qdisc", "show")).toBe(before);
});

tcTest("a namespace has a number once a link leads to it", async () => {
  await using netns = await testNetns();
  await using other = await testNetns();
  using socket = socketIn(netns);
  using there = openNetns(other.path);
  expect(namespaceNumber(socket, there.fd)).toBeUndefined();
  await netns.exec(["ip", "link", "add", "e0", "type", "veth", "peer", "name", "e1", "netns", other.name]);
  expect(namespaceNumber(socket, there.fd)).toBe(0);
});
