/** The probe of nftables: what it answers, and that it leaves nothing. */
import { expect } from "bun:test";
import { openRuleSet } from "../nft/available.ts";
import { generation, listTables } from "../nft/list.ts";
import { inNetns, openNetns } from "../sys/netns.ts";
import { kernelTest } from "../testing/needs.ts";
import { testNetns } from "../testing/netns.ts";
import { missingNftables, natPriorities } from "./nftables-probe.ts";

kernelTest("a kernel that has everything lacks nothing, and its rule set is as before", async () => {
  await using netns = await testNetns();
  using opened = openNetns(netns.path);
  using socket = inNetns(opened, openRuleSet);
  if (socket === undefined) throw new Error("this kernel has no nftables");
  const before = generation(socket);
  expect(missingNftables(socket, "inet")).toBeUndefined();
  expect(missingNftables(socket, "bridge")).toBeUndefined();
  expect(listTables(socket)).toEqual([]);
  expect(generation(socket)).toBe(before);
});

kernelTest("a table by the probe's own name makes the answer impossible, and not wrong", async () => {
  await using netns = await testNetns();
  await netns.exec(["nft", "add", "table", "inet", "heddle-probe"]);
  using opened = openNetns(netns.path);
  using socket = inNetns(opened, openRuleSet);
  if (socket === undefined) throw new Error("this kernel has no nftables");
  expect(() => missingNftables(socket, "inet")).toThrow("inet heddle-probe");
});

kernelTest("the priorities of NAT chains are those of docs/limits.md", () => {
  expect([...new Set(natPriorities.map((b) => `${b.hook} ${b.priority}`))].toSorted()).toEqual([
    "output -95",
    "output -96",
    "postrouting 104",
    "postrouting 105",
    "prerouting -95",
    "prerouting -96",
  ]);
});
