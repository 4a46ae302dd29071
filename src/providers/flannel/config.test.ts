import { describe, expect, test } from "bun:test";
import { isNetError } from "../../errors.ts";
import { type AddressPlan, parseNetworkConfig } from "./config.ts";

const shown = (plan: AddressPlan | undefined): string | undefined =>
  plan && `${plan.network.text} /${plan.subnetLen} ${plan.min.text} … ${plan.max.text}`;
const read = (document: object): ReturnType<typeof parseNetworkConfig> =>
  parseNetworkConfig(JSON.stringify(document));

describe("the network configuration", () => {
  test("has flanneld's defaults", () => {
    const config = read({ Network: "10.3.0.0/16" });
    expect(config).toMatchObject({
      enableIpv4: true,
      enableIpv6: false,
      nftables: false,
      backend: { type: "udp", options: {} },
    });
    expect(shown(config.v4)).toBe("10.3.0.0/16 /24 10.3.1.0 … 10.3.255.0");
    expect(config.v6).toBeUndefined();
  });

  test("is that of the manifest for Kubernetes", () => {
    const text = `{
      "Network": "10.244.0.0/16",
      "EnableNFTables": false,
      "Backend": {
        "Type": "vxlan"
      }
    }
`;
    const config = parseNetworkConfig(text);
    expect(config.backend).toEqual({ type: "vxlan", options: {} });
    expect(shown(config.v4)).toBe("10.244.0.0/16 /24 10.244.1.0 … 10.244.255.0");
  });

  test("reads every key, and its keys in any case", () => {
    const config = parseNetworkConfig(
      `{"network":"10.3.7.9/16","SUBNETLEN":28,"subnetmin":"10.3.5.0","SubnetMax":"10.3.8.0",
        "enableIPv6":true,"ipv6Network":"fc00::/48","IPv6SubnetMin":"fc00:0:0:1::","ipv6subnetmax":"fc00:0:0:f::",
        "IPv6SubnetLen":124,"EnableNftables":true,"backend":{"type":"VXLAN","VNI":7,"DirectRouting":true}}`,
    );
    expect(shown(config.v4)).toBe("10.3.0.0/16 /28 10.3.5.0 … 10.3.8.0");
    expect(shown(config.v6)).toBe("fc00::/48 /124 fc00:0:0:1:: … fc00:0:0:f::");
    expect(config.nftables).toBe(true);
    expect(config.backend).toEqual({ type: "vxlan", options: { VNI: 7, DirectRouting: true } });
  });

  test("may be of IPv6 alone, and then does not look at the IPv4 network", () => {
    const config = read({ EnableIPv4: false, EnableIPv6: true, IPv6Network: "fc00::/48", SubnetLen: 99 });
    expect(config.v4).toBeUndefined();
    expect(shown(config.v6)).toBe("fc00::/48 /64 fc00:0:0:1:: … fc00:0:0:ffff::");
  });

  test.each([
    ["10.0.0.0/8", "10.0.0.0/8 /24 10.0.1.0 … 10.255.255.0"],
    ["10.5.4.0/22", "10.5.4.0/22 /24 10.5.5.0 … 10.5.7.0"],
    ["10.5.4.0/23", "10.5.4.0/23 /25 10.5.4.128 … 10.5.5.128"],
    ["10.5.4.16/28", "10.5.4.16/28 /30 10.5.4.20 … 10.5.4.28"],
  ])("divides %s as %s", (network, plan) => {
    expect(shown(read({ Network: network }).v4)).toBe(plan);
  });

  test.each([
    ["fd00::/62", "fd00::/62 /64 fd00:0:0:1:: … fd00:0:0:3::"],
    ["fd00::/63", "fd00::/63 /65 fd00::8000:0:0:0 … fd00:0:0:1:8000::"],
    ["fd00::/124", "fd00::/124 /126 fd00::4 … fd00::c"],
  ])("divides %s as %s", (network, plan) => {
    const config = read({ EnableIPv4: false, EnableIPv6: true, IPv6Network: network });
    expect(shown(config.v6)).toBe(plan);
  });

  test("takes a length of zero, addresses of zeros and null as absent", () => {
    const config = read({
      Network: "10.3.0.0/16",
      SubnetLen: 0,
      SubnetMin: "0.0.0.0",
      SubnetMax: null,
      Backend: null,
    });
    expect(shown(config.v4)).toBe("10.3.0.0/16 /24 10.3.1.0 … 10.3.255.0");
    expect(config.backend.type).toBe("udp");
  });
});

describe("the network configuration is refused", () => {
  const v4 = { Network: "10.3.0.0/16" };
  const v6 = { EnableIPv4: false, EnableIPv6: true, IPv6Network: "fc00::/48" };
  test.each<[string, object, string]>([
    ["without a network", {}, "Network: is missing"],
    ["without an IPv6 network", { ...v4, EnableIPv6: true }, "IPv6Network: is missing"],
    ["without a family", { ...v4, EnableIPv4: false }, "EnableIPv4: and EnableIPv6 are both false"],
    ["with a network that is none", { Network: "10.3.0.0" }, 'Network: "10.3.0.0" is not an address with'],
    ["with a network of another family", { Network: "fc00::/48" }, "Network: is of IPv6"],
    ["with an IPv4 network for IPv6", { ...v6, IPv6Network: "10.3.0.0/16" }, "IPv6Network: is of IPv4"],
    ["with every address", { Network: "0.0.0.0/0" }, "Network: 0.0.0.0/0 is every address"],
    ["with too small a network", { Network: "10.3.0.0/29" }, "Network: 10.3.0.0/29 is too small"],
    [
      "with too small an IPv6 network",
      { ...v6, IPv6Network: "fc00::/125" },
      "IPv6Network: fc00::/125 is too small",
    ],
    ["with a length beyond 30", { ...v4, SubnetLen: 31 }, "SubnetLen: 31 is too long"],
    ["with an IPv6 length beyond 126", { ...v6, IPv6SubnetLen: 127 }, "IPv6SubnetLen: 127 is too long"],
    [
      "with room for less than four",
      { ...v4, SubnetLen: 17 },
      "SubnetLen: 17 leaves room for less than four",
    ],
    ["with a negative length", { ...v4, SubnetLen: -1 }, "SubnetLen: -1 is not within 0 and 128"],
    ["with a length in words", { ...v4, SubnetLen: "24" }, "SubnetLen: must be a whole number"],
    [
      "with a first subnet outside",
      { ...v4, SubnetMin: "10.4.0.0" },
      "SubnetMin: 10.4.0.0 is not in the network",
    ],
    [
      "with a last subnet outside",
      { ...v4, SubnetMax: "10.2.0.0" },
      "SubnetMax: 10.2.0.0 is not in the network",
    ],
    [
      "with a first subnet that begins elsewhere",
      { ...v4, SubnetMin: "10.3.1.7" },
      "SubnetMin: 10.3.1.7 is not the beginning of a /24: the one that it is in begins at 10.3.1.0",
    ],
    [
      "with a last IPv6 subnet that begins elsewhere",
      { ...v6, IPv6SubnetMax: "fc00:0:0:1::1" },
      "IPv6SubnetMax: fc00:0:0:1::1 is not the beginning of a /64",
    ],
    [
      "with the ends changed round",
      { ...v4, SubnetMin: "10.3.9.0", SubnetMax: "10.3.5.0" },
      "SubnetMin: 10.3.9.0 is behind the last subnet, 10.3.5.0",
    ],
    ["with a backend that is a word", { ...v4, Backend: "vxlan" }, "Backend: must be an object"],
    ["with a backend without a type", { ...v4, Backend: { VNI: 1 } }, "Backend.Type: is missing"],
    ["with a type that is none", { ...v4, Backend: { Type: 7 } }, "Backend.Type: must be a string"],
    ["with a flag in words", { ...v4, EnableIPv6: "true" }, "EnableIPv6: must be true or false"],
  ])("%s", (_title, document, message) => {
    const problem = problemOf(JSON.stringify(document));
    expect(problem.startsWith(message)).toBe(true);
  });

  test.each([
    ["that is not JSON", "{", "the network configuration: "],
    ["that is empty", "", "the network configuration: "],
    ["that is a list", "[]", "the configuration: must be an object"],
    ["that goes on", '{"Network":"10.3.0.0/16"} {}', "the network configuration: "],
    ["of too many levels", "[".repeat(70), "the network configuration: nested deeper"],
    ["of too many bytes", " ".repeat(2_000_000), "the network configuration: longer than"],
  ])("as a text %s", (_title, text, message) => {
    expect(problemOf(text).startsWith(message)).toBe(true);
  });
});

function problemOf(text: string): string {
  try {
    parseNetworkConfig(text);
  } catch (e) {
    if (isNetError(e, "config/invalid")) return e.message;
    throw e;
  }
  return "accepted";
}
