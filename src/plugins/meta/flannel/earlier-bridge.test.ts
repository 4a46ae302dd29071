import { describe, expect, test } from "bun:test";
import { cidr } from "../../../testing/address.ts";
import { besideEarlier } from "./earlier-bridge.ts";

const env = { networks: [cidr("10.244.0.0/16")], subnets: { v4: cidr("10.244.5.0/24") } };

/** The name of the bridge for new containers, where the one that was meant has this address. */
function bridgeWith(address: string | undefined, raw: object = {}, type = "bridge"): unknown {
  const asked: string[] = [];
  const given = { type, capabilities: {}, raw: { isGateway: true, ...raw } };
  const plugin = besideEarlier(given, env, (link) => {
    asked.push(link);
    return address === undefined ? [] : [cidr(address)];
  });
  return plugin.raw["bridge"] ?? asked[0];
}

describe("the bridge for new containers", () => {
  test.each([
    ["that is not there yet", undefined, "cni0"],
    ["with the gateway of the host's subnet", "10.244.5.1/24", "cni0"],
    ["of an earlier subnet", "10.244.1.1/24", "cni0af40500"],
    // It is somebody else's, and the plugin bridge says so.
    ["of another network", "192.168.7.1/24", "cni0"],
    ["with an address of IPv6", "fd00::1/64", "cni0"],
  ])("beside one %s is its own or the same", (_, address, bridge) => {
    expect(bridgeWith(address)).toBe(bridge);
  });

  test("is looked for by the name that the configuration gives", () => {
    expect(bridgeWith("10.244.5.1/24", { bridge: "br7" })).toBe("br7");
    expect(bridgeWith("10.244.1.1/24", { bridge: "br7" })).toBe("cni0af40500");
  });

  test("is of no concern to another delegate, or to one that is no gateway", () => {
    expect(bridgeWith("10.244.1.1/24", {}, "macvlan")).toBeUndefined();
    expect(bridgeWith("10.244.1.1/24", { isGateway: false })).toBeUndefined();
  });
});
