/** DEL with a configuration whose `ipam` nobody can read any more: what the record knows goes, the address with it. */
import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { lan } from "../../src/testing/lan.ts";
import { onKernelWith, testWith } from "../../src/testing/needs.ts";

const kernel = testWith({ root: true, programs: ["ip", "nft", "nsenter", "unshare"] });
const heddle = heddleOfFile();

type Json = Readonly<Record<string, unknown>>;
type Row = readonly [type: string, conf: Json];

async function detaches(type: string, conf: Json): Promise<void> {
  await using on = await lan(heddle);
  const a = await on.container();
  await on.host.exec(["ip", "link", "add", "dev0", "type", "veth", "peer", "name", "wire0"]);
  const reserved = () => readdirSync(join(on.host.dir, "ipam", "net")).filter((name) => /^\d/.test(name));
  // The address and the parameters of the host that stay are there from the first time on.
  await on.add(a, { type, ...conf, ipam: on.ipam() });
  expect((await on.call("DEL", a, { type, ...conf, ipam: on.ipam() })).message).toBe("");
  const before = await on.snapshot(a);
  for (const ipam of [{ type: 5 }, 5, { type: ["x"] }, ["host-local"]]) {
    await on.add(a, { type, ...conf, ipam: on.ipam() });
    expect(reserved()).toHaveLength(1);
    for (const _ of [1, 2]) expect((await on.call("DEL", a, { type, ...conf, ipam })).message).toBe("");
    expect(reserved()).toEqual([]);
    expect(await on.snapshot(a)).toEqual(before);
  }
}

describe("DEL with an ipam that cannot be read", () => {
  kernel.each<Row>([
    ["bridge", { bridge: "br0" }],
    ["ptp", {}],
    ["host-device", { device: "dev0" }],
    ["macvlan", { master: "up0" }],
    ["macvtap", { master: "up0" }],
    ["tap", {}],
  ])("removes what %s has made, and gives the address back", detaches);

  onKernelWith(["dummy", "ipvlan", "vlan"], () => {
    test.each<Row>([
      ["dummy", {}],
      ["ipvlan", { master: "up0" }],
      ["vlan", { master: "up0", vlanId: 5 }],
    ])("removes what %s has made, and gives the address back", detaches);
  });
});
