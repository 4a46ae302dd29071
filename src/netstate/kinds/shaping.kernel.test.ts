import { describe, expect } from "bun:test";
import { tokenBucket } from "../../rtnl/token-bucket.ts";
import { testWith } from "../../testing/needs.ts";
import { type Stage, stage } from "../../testing/netstate-stage.ts";
import type { NetObject, Of, Place } from "../model.ts";

const tcTest = testWith({ root: true, programs: ["ip", "tc"] });
const SHAPER = "bwp0123456789ab";

const root = (place: Place): Of<"qdisc"> => ({
  kind: "qdisc",
  possession: "borrowed",
  place,
  link: "e0",
  qdisc: tokenBucket(1_000_000, 100_000, 25),
});
/** A limit on what `e0` sends, and one on what it receives. */
const shaping = (place: Place): readonly NetObject[] => [
  root(place),
  {
    kind: "link",
    possession: "exclusive",
    place,
    name: SHAPER,
    type: { kind: "ifb" },
    alsoNamed: "bwpfedcba987654",
  },
  {
    kind: "qdisc",
    possession: "exclusive",
    place,
    link: SHAPER,
    qdisc: tokenBucket(10_000_000_000, 1_000_000, 25),
  },
  { kind: "link-up", possession: "exclusive", place, link: SHAPER },
  { kind: "filter", possession: "borrowed", place, link: "e0", through: SHAPER },
];

/** With a pair `e0`, `e1` in both namespaces. */
async function withPairs(): Promise<Stage> {
  const on = await stage();
  for (const netns of [on.host, on.container])
    for (const words of ["link add e0 type veth peer name e1", "link set e0 up", "link set e1 up"])
      await netns.exec(["ip", ...words.split(" ")]);
  return on;
}
const at = (on: Stage, place: Place) => (place === "host" ? on.host : on.container);
const tc = async (on: Stage, place: Place, words: string): Promise<string> =>
  (await at(on, place).exec(["tc", ...words.split(" ")])).stdout;

describe.each([["host"], ["container"]] as const)("limits in the %s", (place) => {
  tcTest("are put, found and taken back", async () => {
    await using on = await withPairs();
    const before = await on.lines();
    const objects = shaping(place);
    const { failure, borrowed } = await on.do("apply", objects);
    expect(failure).toBeUndefined();
    expect(borrowed).toEqual([{ object: 4, value: "no hook" }]);
    expect(await tc(on, place, "qdisc show dev e0 root")).toContain("tbf 6864: root refcnt");
    expect(await tc(on, place, `qdisc show dev ${SHAPER}`)).toContain("rate 80Gbit");
    expect(await tc(on, place, "filter show dev e0 ingress")).toContain(`Redirect to device ${SHAPER}`);
    expect((await at(on, place).exec(["ip", "link", "show", SHAPER])).stdout).toContain(
      "altname bwpfedcba987654",
    );
    expect((await on.do("verify", objects)).failure).toBeUndefined();
    expect((await on.do("remove", objects, borrowed)).failure).toBeUndefined();
    expect(await on.lines()).toEqual(before);
    // As after a DEL that was killed at the end.
    expect((await on.do("remove", objects, borrowed)).failure).toBeUndefined();
  });

  tcTest("stand beside filters of others, which stay and are asked first", async () => {
    await using on = await withPairs();
    await tc(on, place, "qdisc add dev e0 clsact");
    await tc(on, place, "filter add dev e0 ingress protocol ip u32 match ip dst 192.0.2.1 flowid 1:1");
    await tc(on, place, "filter add dev e0 egress protocol ip u32 match ip dst 192.0.2.1 flowid 1:1");
    const before = await on.lines();
    const { failure, borrowed } = await on.do("apply", shaping(place));
    expect(failure).toBeUndefined();
    expect(borrowed).toEqual([]);
    const filters = await tc(on, place, "filter show dev e0 ingress");
    expect(filters.indexOf("pref 49152")).toBeLessThan(filters.indexOf("pref 65000"));
    await on.do("remove", shaping(place), borrowed);
    expect(await on.lines()).toEqual(before);
  });

  tcTest("leave the hook that they made to others who use it by then", async () => {
    await using on = await withPairs();
    const { borrowed } = await on.do("apply", shaping(place));
    await tc(on, place, "filter add dev e0 egress protocol ip u32 match ip dst 192.0.2.1 flowid 1:1");
    await on.do("remove", shaping(place), borrowed);
    expect(await tc(on, place, "qdisc show dev e0")).toContain("clsact");
    expect(await tc(on, place, "filter show dev e0 egress")).toContain("flowid 1:1");
    expect(await tc(on, place, "filter show dev e0 ingress")).toBe("");
  });

  tcTest("replace no queue of others, which the error names, and leave nothing", async () => {
    await using on = await withPairs();
    await tc(on, place, "qdisc add dev e0 root handle 7: pfifo");
    const before = await on.lines();
    const { failure } = await on.do("apply", shaping(place));
    expect(failure?.code).toBe("resource/exists");
    expect(failure?.message).toContain("qdisc pfifo 7: at the root of e0");
    expect(await on.lines()).toEqual(before);
    await on.do("remove", shaping(place));
    expect(await on.lines()).toEqual(before);
  });

  tcTest("take the place of those that an attachment without a record left", async () => {
    await using on = await withPairs();
    const before = await on.lines();
    const { borrowed } = await on.do("apply", shaping(place));
    await at(on, place).exec(["ip", "link", "delete", SHAPER]);
    expect((await on.do("apply", shaping(place))).failure).toBeUndefined();
    expect((await on.do("verify", shaping(place))).failure).toBeUndefined();
    await on.do("remove", shaping(place), borrowed);
    expect(await on.lines()).toEqual(before);
  });

  tcTest.each([
    ["another rate", "qdisc change dev e0 root tbf rate 9mbit burst 100kb latency 25ms", "rateBytes"],
    ["another burst", "qdisc change dev e0 root tbf rate 8mbit burst 200kb limit 125000", "bufferTicks"],
    ["another queue", "qdisc replace dev e0 root handle 9: pfifo", "pfifo"],
    ["no queue", "qdisc delete dev e0 root", "noqueue"],
    ["no filter", "filter delete dev e0 ingress pref 65000", "redirects to"],
  ])("are found different with %s", async (_, words, found) => {
    await using on = await withPairs();
    await on.do("apply", shaping(place));
    await tc(on, place, words);
    const { failure } = await on.do("verify", shaping(place));
    expect(failure?.code).toBe("check/differs");
    expect(failure?.message).toContain(found);
  });
});

tcTest("a limit on a link that is gone fails, and is taken back without complaint", async () => {
  await using on = await stage();
  expect((await on.do("apply", [root("host")])).failure?.code).toBe("netlink/refused");
  expect((await on.do("remove", shaping("host"))).failure).toBeUndefined();
});
