import { describe, expect, test } from "bun:test";
import type { Facts } from "../../../netstate/facts.ts";
import { inputOf, noFacts, prefixOf } from "../../../testing/plan.ts";
import { needs, plan } from "./plan.ts";

const withAddress = (text: string): Facts => ({
  ...noFacts,
  addresses: new Map([
    [
      "container lo",
      [
        {
          index: 1,
          prefix: prefixOf(text),
          tentative: false,
          dadFailed: false,
          permanent: true,
          linkLocal: false,
        },
      ],
    ],
  ]),
});
const ipv6On: Facts = { ...noFacts, sysctls: new Map([["container net/ipv6/conf/lo/disable_ipv6", "0"]]) };

describe("the plan of loopback", () => {
  test("borrows the link that is called lo, whatever CNI_IFNAME says", () => {
    expect(needs().links).toEqual([{ place: "container", name: "lo", addresses: true }]);
    expect(plan(inputOf(undefined, undefined), noFacts).state.objects).toEqual([
      { kind: "link-up", possession: "borrowed", place: "container", link: "lo" },
    ]);
  });
  test("answers with the addresses that the kernel gives it", () => {
    const addresses = (facts: Facts) =>
      plan(inputOf(undefined, undefined), facts).result.ips.map((ip) => ip.address.text);
    expect(addresses(noFacts)).toEqual(["127.0.0.1/8"]);
    expect(addresses(ipv6On)).toEqual(["127.0.0.1/8", "::1/128"]);
  });
  test("passes a previous result on", () => {
    const previous = { ips: [{ address: "10.1.2.3/24" }] };
    const { result } = plan(inputOf(undefined, undefined, previous), noFacts);
    expect(result.ips.map((ip) => ip.address.text)).toEqual(["10.1.2.3/24"]);
  });
  test("refuses a loopback with an address that is none", () => {
    expect(() => plan(inputOf(undefined, undefined), withAddress("10.1.1.1/8"))).toThrow("10.1.1.1/8");
    expect(() => plan(inputOf(undefined, undefined), withAddress("127.0.0.5/8"))).not.toThrow();
  });
});
