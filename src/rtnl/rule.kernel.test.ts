import { expect } from "bun:test";
import { type NetlinkSocket, openNetlink } from "../netlink/socket.ts";
import { inNetns, openNetns } from "../sys/netns.ts";
import { kernelTest } from "../testing/needs.ts";
import { type TestNetns, testNetns } from "../testing/netns.ts";
import { addRule, listRules, removeRule, type RoutingRule } from "./rule.ts";
import { cidr } from "../testing/address.ts";

function socketIn(netns: TestNetns): NetlinkSocket {
  using handle = openNetns(netns.path);
  return inNetns(handle, () => openNetlink("route"));
}

/** Without the kernel's own three. */
const made = (socket: NetlinkSocket, family: 4 | 6): RoutingRule[] =>
  listRules(socket, family).filter((r) => r.protocol !== 2);

const full: RoutingRule = {
  family: 4,
  priority: 1000,
  table: 300,
  src: cidr("10.1.2.0/24"),
  dst: cidr("192.0.2.0/24"),
  mark: { value: 0x100, mask: 0xff00 },
  iif: "eth7",
  invert: true,
  protocol: 44,
};

kernelTest("a rule is read back as it was made, and prints as the ip program would make it", async () => {
  await using netns = await testNetns();
  using socket = socketIn(netns);
  const six: RoutingRule = {
    family: 6,
    priority: 7,
    table: 254,
    src: cidr("fd00::/8"),
    oif: "eth8",
    protocol: 44,
  };
  expect([addRule(socket, full), addRule(socket, six)]).toEqual([true, true]);
  expect(made(socket, 4)).toEqual([full]);
  expect(made(socket, 6)).toEqual([six]);
  const { stdout } = await netns.exec(["ip", "rule", "show", "priority", "1000"]);
  expect(stdout.replaceAll(/\s+/g, " ").trim()).toBe(
    "1000: not from 10.1.2.0/24 to 192.0.2.0/24 fwmark 0x100/0xff00 iif eth7 [detached] lookup 300 proto 44",
  );
});

kernelTest("the same rule is made once and removed once", async () => {
  await using netns = await testNetns();
  using socket = socketIn(netns);
  const other: RoutingRule = { ...full, mark: { value: 0x200 } };
  expect([addRule(socket, full), addRule(socket, full), addRule(socket, other)]).toEqual([true, false, true]);
  expect([removeRule(socket, full), removeRule(socket, full)]).toEqual([true, false]);
  expect(made(socket, 4)).toEqual([other]);
});

kernelTest("host bits of a prefix are cleared, which the kernel would refuse or ignore", async () => {
  await using netns = await testNetns();
  using socket = socketIn(netns);
  addRule(socket, { family: 4, priority: 5, table: 10, src: cidr("10.1.2.3/24"), protocol: 44 });
  expect(made(socket, 4)[0]?.src?.text).toBe("10.1.2.0/24");
});
