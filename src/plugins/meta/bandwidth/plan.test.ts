import { describe, expect, test } from "bun:test";
import { factKey, type Facts } from "../../../netstate/facts.ts";
import { confOf, fresh, inputOf, linkFact, noFacts, objectsOf } from "../../../testing/plan.ts";
import { parseConfig } from "./config.ts";
import { referenceShaper } from "./names.ts";
import { needs, plan } from "./plan.ts";

type Json = Readonly<Record<string, unknown>>;
const INGRESS = { ingressRate: 8_000_000, ingressBurst: 800_000 };
const EGRESS = { egressRate: 16_000_000, egressBurst: 1_600_000 };
const previous = {
  interfaces: [{ name: "veth1" }, { name: "eth0", sandbox: "/run/netns/c" }],
  ips: [{ address: "10.1.2.3/24", interface: 1 }],
};
const of = (raw: Json, prev: Json | undefined = previous) =>
  inputOf(parseConfig(confOf("bandwidth", raw)), undefined, prev);

const inside = linkFact("eth0", { mtuBytes: 1400 });
/** A macvlan, say. */
const alone: Facts = { ...noFacts, links: new Map([[factKey("container", "eth0"), inside]]) };
const pair: Facts = { ...alone, hostEnd: linkFact("veth1", { mtuBytes: 1400 }) };

const where = (raw: Json, facts: Facts) =>
  plan(of(raw), facts).state.objects.map((o) =>
    o.kind === "qdisc"
      ? `${o.possession} tbf ${o.qdisc.rateBytes} on ${o.place} ${o.link}`
      : o.kind === "filter"
        ? `filter on ${o.place} ${o.link} through ${o.through}`
        : `${o.kind} ${"place" in o ? o.place : ""}`,
  );
const NAME = "bwp522f7dbb7bf8";

describe("the plan of bandwidth", () => {
  test("shapes the end in the host: what it sends the container receives", () => {
    expect(where(INGRESS, pair)).toEqual(["borrowed tbf 1000000 on host veth1"]);
    expect(where(EGRESS, pair)).toEqual([
      "link host",
      `exclusive tbf 2000000 on host ${NAME}`,
      "link-up host",
      `filter on host veth1 through ${NAME}`,
    ]);
    expect(where({ ...INGRESS, ...EGRESS }, pair)).toHaveLength(5);
  });
  test("shapes the interface itself if it has no end in the host, the other way round", () => {
    expect(where(EGRESS, alone)).toEqual(["borrowed tbf 2000000 on container eth0"]);
    expect(where(INGRESS, alone)).toEqual([
      "link container",
      `exclusive tbf 1000000 on container ${NAME}`,
      "link-up container",
      `filter on container eth0 through ${NAME}`,
    ]);
  });
  test("adds the shaper to the result, with its namespace if that is the container's", () => {
    const shaper = { name: NAME, mac: fresh.hostMac, mtu: 1400 };
    const { result } = plan(of(EGRESS), pair);
    expect(result.interfaces.slice(2)).toEqual([shaper]);
    expect(result.ips).toHaveLength(1);
    expect(plan(of(INGRESS), alone).result.interfaces.slice(2)).toEqual([
      { ...shaper, sandbox: "/run/netns/c" },
    ]);
    expect(plan(of(INGRESS), pair).result.interfaces).toHaveLength(2);
  });
  test("makes the shaper as the reference does, with its name beside ours", () => {
    const [link] = objectsOf(plan(of(EGRESS), pair).state, "link");
    expect(link).toMatchObject({
      type: { kind: "ifb" },
      mtuBytes: 1400,
      txQueueLength: 0,
      mac: fresh.hostMac,
      alsoNamed: referenceShaper("net", "c"),
    });
    expect(objectsOf(plan(of(INGRESS), alone).state, "link")[0]).not.toHaveProperty("alsoNamed");
  });
  test("gives each interface of a container a shaper of its own", () => {
    const other = { ...of(EGRESS), ifname: "net1" };
    const names = [of(EGRESS), other].map((i) => objectsOf(plan(i, pair).state, "link")[0]?.name);
    expect(new Set(names).size).toBe(2);
    for (const name of names) expect(name).toMatch(/^bwp[0-9a-f]{12}$/);
  });
  test("looks in CHECK for the shaper that the result names, also the reference's", () => {
    const theirs = { name: referenceShaper("net", "c"), mac: "02:00:00:00:00:99" };
    const result = { ...previous, interfaces: [...previous.interfaces, theirs] };
    expect(objectsOf(plan(of(EGRESS, result), pair).state, "link")[0]).toMatchObject(theirs);
  });
  test("asks for nothing and makes nothing without limits", () => {
    expect(needs(of({}))).toEqual({});
    expect(plan(of({}), noFacts).state.objects).toEqual([]);
    expect(needs(of(INGRESS)).hostEndOf).toBe("eth0");
  });
  test("refuses a container without the interface, and a call without a previous result", () => {
    expect(() => plan(of(INGRESS), noFacts)).toThrow("there is no interface eth0 in /run/netns/c");
    expect(() => plan({ ...of(INGRESS), prevResult: undefined as never }, pair)).toThrow("needs the result");
  });
});

test("the reference names its shaper by network and container", () => {
  // As 1.9.1 did on a machine.
  expect(referenceShaper("n", "c1")).toBe("bwp9b00b9b7c279");
});
