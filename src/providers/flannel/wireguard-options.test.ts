import { describe, expect, test } from "bun:test";
import { fabricNode, hostFacts, subnets } from "../../testing/fabric.ts";
import { keyPair, keyText } from "../../testing/wireguard.ts";
import { readNetwork } from "./provider.ts";

const host = { ...hostFacts({ at4: "192.0.2.1", at6: "2001:db8::1" }), keys: keyPair(1) };
const told = { PublicKey: keyText(2) };
const words = (n: number) => ({
  v4: `10.244.${n}.0/24`,
  v6: `fd00:10:0:${n}::/64`,
  at4: `192.0.2.${n}`,
  at6: `2001:db8::${n}`,
});
const view = {
  network: subnets({ v4: "10.244.0.0/16", v6: "fd00:10::/48" }),
  self: fabricNode("node1", words(1)),
  peers: [fabricNode("node2", { ...words(2), backend: { type: "wireguard", v4: told, v6: told } })],
};
const DUAL = { Network: "10.244.0.0/16", EnableIPv6: true, IPv6Network: "fd00:10::/48" };
const PSK = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=";

const read = (options: object, network: object = DUAL) =>
  readNetwork(JSON.stringify({ ...network, Backend: { Type: "wireguard", ...options } }), {
    blackholeRoute: false,
  });
const refusal = (options: object, network?: object): string => {
  const result = read(options, network);
  return result.ok ? "taken" : result.why;
};
function stateOf(options: object) {
  const result = read(options);
  if (!result.ok) throw new Error(result.why);
  return result.value.transport.desired(view, host).state;
}

describe("the options of wireguard", () => {
  test("are flanneld's by default", () => {
    const { links, tunnels, peers } = stateOf({});
    expect(links.map(({ name, mtuBytes }) => [name, mtuBytes])).toEqual([
      ["flannel-wg", 1420],
      ["flannel-wg-v6", 1420],
    ]);
    expect(tunnels.map(({ listenPort }) => listenPort)).toEqual([51_820, 51_821]);
    expect(peers.map((p) => [p.keepaliveSeconds, p.presharedKey, p.endpoint.port])).toEqual([
      [0, undefined, 51_820],
      [0, undefined, 51_821],
    ]);
  });

  test("are read in any case, and unknown ones ignored", () => {
    const { links, tunnels, peers } = stateOf({
      ...{ mode: "auto", PSK, listenport: 1000, MTU: 1400, persistentKeepaliveInterval: 25, Other: [] },
    });
    expect(links.map(({ name, mtuBytes }) => [name, mtuBytes])).toEqual([["flannel-wg", 1320]]);
    expect(tunnels.map(({ listenPort }) => listenPort)).toEqual([1000]);
    expect(peers.map((p) => [p.keepaliveSeconds, p.presharedKey?.reveal().toBase64()])).toEqual([[25, PSK]]);
    expect(stateOf({ PSK: "" }).peers[0]).not.toHaveProperty("presharedKey");
  });

  test.each([
    [{ Mode: "both" }, 'Backend.Mode: "both" is not one of separate, auto, ipv4, ipv6'],
    [{ ListenPort: 0 }, "Backend.ListenPort: 0 is not within 1 and 65535"],
    [{ ListenPortV6: 65_536 }, "Backend.ListenPortV6: 65536 is not within 1 and 65535"],
    [{ MTU: -1 }, "Backend.MTU: -1 is not within 0 and 65535"],
    [
      { PersistentKeepaliveInterval: 65_536 },
      "Backend.PersistentKeepaliveInterval: 65536 is not within 0 and 65535",
    ],
    [{ ListenPort: 51_821 }, "Backend.ListenPortV6: 51821 is ListenPort, too"],
  ])("%j is refused", (options, why) => {
    expect(refusal(options)).toContain(why);
  });

  test("a preshared key that is none is refused and not repeated", () => {
    expect(refusal({ PSK: "hunter2" })).toEndWith("Backend.PSK: is not a key: 32 bytes in base64");
  });

  test("one port is enough for one tunnel, and for one family", () => {
    expect(refusal({ ListenPort: 51_821, Mode: "ipv6" })).toBe("taken");
    expect(refusal({ ListenPort: 51_821 }, { Network: "10.244.0.0/16" })).toBe("taken");
  });

  test("a tunnel goes over no family that the network does not have", () => {
    expect(refusal({ Mode: "ipv6" }, { Network: "10.244.0.0/16" })).toContain(
      "Backend.Mode: goes over IPv6, which the network does not have: see EnableIPv6",
    );
  });
});
