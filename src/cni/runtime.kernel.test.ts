import { afterEach, beforeEach, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { kernelTest } from "../testing/needs.ts";
import { testNetns } from "../testing/netns.ts";
import { failure, listOf, rejection, runtimeFixture } from "../testing/runtime.ts";
import { addNetworkList } from "./runtime.ts";

let t: ReturnType<typeof runtimeFixture>;
beforeEach(() => {
  t = runtimeFixture();
});
afterEach(() => {
  rmSync(t.dir, { recursive: true, force: true });
});

kernelTest(
  "an ADD that fails at an interface which nobody remembers does not take that interface away",
  async () => {
    await using container = await testNetns();
    await container.exec(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other"]);
    t.fails.set("ADD a", failure("eth0 exists"));
    const attachment = { containerId: "c1", ifname: "eth0", netns: container.path };
    await rejection(addNetworkList(t.runtime, listOf("1.0.0"), attachment));
    expect(t.steps()).toEqual(["ADD a"]);
  },
);

kernelTest("an ADD that fails later takes back what the plugins before it made", async () => {
  await using container = await testNetns();
  t.fails.set("ADD b", failure("no"));
  const attachment = { containerId: "c1", ifname: "eth0", netns: container.path };
  await rejection(addNetworkList(t.runtime, listOf("1.0.0"), attachment));
  expect(t.steps()).toEqual(["ADD a", "ADD b", "DEL b", "DEL a"]);
});

test("a reason that stops ADD and DEL alike is said once", async () => {
  t.fails.set("ADD a", failure("is not a network namespace"));
  t.fails.set("DEL a", failure("is not a network namespace"));
  const attachment = { containerId: "c1", ifname: "eth0", netns: t.netns("ns1") };
  const e = await rejection(addNetworkList(t.runtime, listOf("1.0.0"), attachment));
  expect((e as Error).message.match(/is not a network namespace/g)?.length).toBe(1);
});
