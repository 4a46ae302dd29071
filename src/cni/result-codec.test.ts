import { describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { decodePrevResult, decodeResult, encodeResult, parseResult, printResult } from "./result-codec.ts";
import { emptyResult } from "./result.ts";
import { type Version, versions } from "./version.ts";

const codeOf = (run: () => unknown): string | undefined => {
  try {
    run();
  } catch (e) {
    return e instanceof NetError ? e.code : `untyped ${String(e)}`;
  }
  return undefined;
};

type Json = Record<string, unknown>;
type Form = "old" | "middle" | "new";
const formOf: Record<Version, Form> = {
  "0.1.0": "old",
  "0.2.0": "old",
  "0.3.0": "middle",
  "0.3.1": "middle",
  "0.4.0": "middle",
  "1.0.0": "new",
  "1.1.0": "new",
};

/** What one network looks like in each of the three forms. */
interface Fixture {
  readonly old?: Json;
  readonly middle: Json;
  readonly new: Json;
}

const fixtures: Record<string, Fixture> = {
  "one IPv4 address with routes": {
    old: {
      ip4: {
        ip: "1.2.3.30/24",
        gateway: "1.2.3.1",
        routes: [{ dst: "15.5.6.0/24", gw: "15.5.6.8" }, { dst: "0.0.0.0/0" }],
      },
      dns: {},
    },
    middle: {
      ips: [{ version: "4", address: "1.2.3.30/24", gateway: "1.2.3.1" }],
      routes: [{ dst: "15.5.6.0/24", gw: "15.5.6.8" }, { dst: "0.0.0.0/0" }],
      dns: {},
    },
    new: {
      ips: [{ address: "1.2.3.30/24", gateway: "1.2.3.1" }],
      routes: [{ dst: "15.5.6.0/24", gw: "15.5.6.8" }, { dst: "0.0.0.0/0" }],
    },
  },
  "one IPv6 address": {
    old: { ip6: { ip: "abcd:1234:ffff::cdde/64", gateway: "abcd:1234:ffff::1" }, dns: {} },
    middle: {
      ips: [{ version: "6", address: "abcd:1234:ffff::cdde/64", gateway: "abcd:1234:ffff::1" }],
      dns: {},
    },
    new: { ips: [{ address: "abcd:1234:ffff::cdde/64", gateway: "abcd:1234:ffff::1" }] },
  },
  "both families with DNS": {
    old: {
      ip4: { ip: "10.0.0.2/24", routes: [{ dst: "10.9.0.0/16" }] },
      ip6: { ip: "fd00::2/64", routes: [{ dst: "::/0", gw: "fd00::1" }] },
      dns: { nameservers: ["1.2.3.4"], domain: "acompany.com", search: ["somedomain.com"], options: ["foo"] },
    },
    middle: {
      ips: [
        { version: "4", address: "10.0.0.2/24" },
        { version: "6", address: "fd00::2/64" },
      ],
      routes: [{ dst: "10.9.0.0/16" }, { dst: "::/0", gw: "fd00::1" }],
      dns: { nameservers: ["1.2.3.4"], domain: "acompany.com", search: ["somedomain.com"], options: ["foo"] },
    },
    new: {
      ips: [{ address: "10.0.0.2/24" }, { address: "fd00::2/64" }],
      routes: [{ dst: "10.9.0.0/16" }, { dst: "::/0", gw: "fd00::1" }],
      dns: { nameservers: ["1.2.3.4"], domain: "acompany.com", search: ["somedomain.com"], options: ["foo"] },
    },
  },
  "several addresses, interfaces, and routes with extras": {
    old: {
      ip4: { ip: "10.0.0.2/24", gateway: "10.0.0.1", routes: [{ dst: "10.9.0.0/16" }] },
      dns: {},
    },
    middle: {
      interfaces: [{ name: "br0" }, { name: "eth0", mac: "00:11:22:33:44:55", sandbox: "/proc/3553/ns/net" }],
      ips: [
        { version: "4", interface: 0, address: "10.0.0.2/24", gateway: "10.0.0.1" },
        { version: "4", interface: 1, address: "10.0.0.3/24" },
      ],
      routes: [{ dst: "10.9.0.0/16", mtu: 1400, advmss: 1300, priority: 5, table: 100, scope: 253 }],
      dns: {},
    },
    new: {
      interfaces: [{ name: "br0" }, { name: "eth0", mac: "00:11:22:33:44:55", sandbox: "/proc/3553/ns/net" }],
      ips: [
        { interface: 0, address: "10.0.0.2/24", gateway: "10.0.0.1" },
        { interface: 1, address: "10.0.0.3/24" },
      ],
      routes: [{ dst: "10.9.0.0/16", mtu: 1400, advmss: 1300, priority: 5, table: 100, scope: 253 }],
    },
  },
  "interfaces alone": {
    middle: { interfaces: [{ name: "eth0", sandbox: "/run/netns/a" }], dns: {} },
    new: { interfaces: [{ name: "eth0", sandbox: "/run/netns/a" }] },
  },
};

for (const [name, fixture] of Object.entries(fixtures))
  describe(`a result with ${name}`, () => {
    for (const from of versions)
      for (const to of versions) {
        const source = fixture[formOf[from]];
        const target = fixture[formOf[to]];
        if (source === undefined) continue;
        const loses = formOf[from] === "old" && formOf[to] !== "old" && name.startsWith("several");
        if (target === undefined)
          test(`of version ${from} cannot be said in ${to}`, () => {
            const result = decodeResult({ cniVersion: from, ...source }, from);
            expect(codeOf(() => encodeResult(result, to))).toBe("version/conversion");
          });
        else
          test(`of version ${from} becomes ${to}`, () => {
            const encoded = encodeResult(decodeResult({ cniVersion: from, ...source }, to), to);
            if (loses) {
              expect(encoded).not.toHaveProperty("interfaces");
              expect(encoded["ips"]).toHaveLength(1);
              expect(encoded["routes"]).toEqual([{ dst: "10.9.0.0/16" }]);
            } else expect(encoded).toEqual({ cniVersion: to, ...target });
          });
      }
  });

describe("printing", () => {
  test("1.1.0 has every key in the Go library's order and layout", () => {
    const source = {
      dns: {
        options: ["foo"],
        search: ["somedomain.com"],
        domain: "acompany.com",
        nameservers: ["1.2.3.4", "1::cafe"],
      },
      routes: [
        { gw: "15.5.6.8", dst: "15.5.6.0/24", scope: 0, table: 0, priority: 1, advmss: 1340, mtu: 1400 },
        { dst: "1111:dddd::/80", gw: "1111:dddd::aaaa" },
      ],
      ips: [{ gateway: "1.2.3.1", address: "1.2.3.30/24", interface: 0 }],
      interfaces: [
        {
          pciID: "8086:9a01",
          socketPath: "/path/to/vhost/fd",
          sandbox: "/proc/3553/ns/net",
          mtu: 1500,
          mac: "00:11:22:33:44:55",
          name: "eth0",
        },
      ],
      cniVersion: "1.1.0",
    };
    expect(printResult(decodeResult(source, "1.1.0"), "1.1.0")).toBe(`{
    "cniVersion": "1.1.0",
    "interfaces": [
        {
            "name": "eth0",
            "mac": "00:11:22:33:44:55",
            "mtu": 1500,
            "sandbox": "/proc/3553/ns/net",
            "socketPath": "/path/to/vhost/fd",
            "pciID": "8086:9a01"
        }
    ],
    "ips": [
        {
            "interface": 0,
            "address": "1.2.3.30/24",
            "gateway": "1.2.3.1"
        }
    ],
    "routes": [
        {
            "dst": "15.5.6.0/24",
            "gw": "15.5.6.8",
            "mtu": 1400,
            "advmss": 1340,
            "priority": 1,
            "table": 0,
            "scope": 0
        },
        {
            "dst": "1111:dddd::/80",
            "gw": "1111:dddd::aaaa"
        }
    ],
    "dns": {
        "nameservers": [
            "1.2.3.4",
            "1::cafe"
        ],
        "domain": "acompany.com",
        "search": [
            "somedomain.com"
        ],
        "options": [
            "foo"
        ]
    }
}`);
  });

  test("0.4.0 names the family of each address and drops what later versions brought to interfaces", () => {
    const result = decodeResult(
      {
        interfaces: [{ name: "eth0", mtu: 1500, socketPath: "/s", pciID: "p" }],
        ips: [{ interface: 0, address: "1.2.3.30/24" }],
      },
      "1.1.0",
    );
    expect(printResult(result, "0.4.0")).toBe(`{
    "cniVersion": "0.4.0",
    "interfaces": [
        {
            "name": "eth0"
        }
    ],
    "ips": [
        {
            "version": "4",
            "interface": 0,
            "address": "1.2.3.30/24"
        }
    ],
    "dns": {}
}`);
  });

  test.each(["0.1.0", "0.2.0"] as const)("%s has one address a family, each with its routes", (version) => {
    const source = {
      ips: [{ address: "1.2.3.30/24", gateway: "1.2.3.1" }, { address: "abcd::cdde/64" }],
      routes: [{ dst: "15.5.6.0/24", gw: "15.5.6.8" }, { dst: "1111::/80" }],
      dns: { nameservers: ["1.2.3.4"], domain: "acompany.com" },
    };
    expect(printResult(decodeResult(source, "1.1.0"), version)).toBe(`{
    "cniVersion": "${version}",
    "ip4": {
        "ip": "1.2.3.30/24",
        "gateway": "1.2.3.1",
        "routes": [
            {
                "dst": "15.5.6.0/24",
                "gw": "15.5.6.8"
            }
        ]
    },
    "ip6": {
        "ip": "abcd::cdde/64",
        "routes": [
            {
                "dst": "1111::/80"
            }
        ]
    },
    "dns": {
        "nameservers": [
            "1.2.3.4"
        ],
        "domain": "acompany.com"
    }
}`);
  });

  test("1.0.0 keeps what 1.1.0 knows of interfaces", () => {
    const source = { cniVersion: "1.1.0", interfaces: [{ name: "eth0", mtu: 9000 }] };
    expect(encodeResult(decodeResult(source, "1.1.0"), "1.0.0")).toMatchObject({
      interfaces: [{ mtu: 9000 }],
    });
  });

  test.each([
    ["0.3.0", `{\n    "cniVersion": "0.3.0",\n    "dns": {}\n}`],
    ["0.3.1", `{\n    "cniVersion": "0.3.1",\n    "dns": {}\n}`],
    ["0.4.0", `{\n    "cniVersion": "0.4.0",\n    "dns": {}\n}`],
    ["1.0.0", `{\n    "cniVersion": "1.0.0"\n}`],
    ["1.1.0", `{\n    "cniVersion": "1.1.0"\n}`],
  ] as const)("an empty result of version %s", (version, printed) => {
    expect(printResult(emptyResult, version)).toBe(printed);
  });

  test.each(["0.1.0", "0.2.0"] as const)("an empty result cannot be said in %s", (version) => {
    expect(codeOf(() => printResult(emptyResult, version))).toBe("version/conversion");
  });

  test("characters that Go escapes are escaped", () => {
    const result = { ...emptyResult, dns: { domain: "<a&b>\u2028" } };
    expect(printResult(result, "1.0.0")).toContain(String.raw`"\u003ca\u0026b\u003e\u2028"`);
  });
});

describe("reading", () => {
  test("an absent interface index stays absent and index 0 stays 0", () => {
    const result = decodeResult(
      { ips: [{ address: "1.1.1.1/8" }, { address: "1.1.1.2/8", interface: 0 }] },
      "1.0.0",
    );
    expect(result.ips[0]).not.toHaveProperty("interface");
    expect(result.ips[1]?.interface).toBe(0);
  });

  test.each(["null", "  null\n"])("%j is an empty result, as old plugins print it", (source) => {
    expect(parseResult(source, "0.2.0")).toEqual(emptyResult);
  });

  test("a result without a version has the configuration's", () => {
    for (const cniVersion of [undefined, ""]) {
      expect(decodeResult({ cniVersion, ip4: { ip: "1.2.3.4/8" } }, "0.2.0").ips).toHaveLength(1);
      expect(decodeResult({ cniVersion, ip4: { ip: "1.2.3.4/8" } }, "0.3.0").ips).toHaveLength(0);
    }
  });

  test("empty gateways, MACs and sandboxes count as absent", () => {
    const result = decodeResult(
      { interfaces: [{ name: "eth0", mac: "", sandbox: "" }], ips: [{ address: "1.2.3.4/8", gateway: "" }] },
      "1.0.0",
    );
    expect(result.interfaces).toEqual([{ name: "eth0" }]);
    expect(result.ips[0]).not.toHaveProperty("gateway");
  });

  test("keys match without regard to case", () => {
    const result = decodeResult(
      { IPs: [{ Address: "1.2.3.4/8" }], DNS: { nameServers: ["9.9.9.9"] } },
      "1.0.0",
    );
    expect(result).toMatchObject({
      ips: [{ address: { text: "1.2.3.4/8" } }],
      dns: { nameservers: ["9.9.9.9"] },
    });
  });

  test.each([
    ["an address that is none", { ips: [{ address: "300.1.1.1/8" }] }, "ips[0].address"],
    ["an address without a length", { ips: [{ address: "10.1.1.1" }] }, "ips[0].address"],
    ["no address", { ips: [{}] }, "ips[0].address is missing"],
    ["an index that is text", { ips: [{ address: "1.1.1.1/8", interface: "0" }] }, "ips[0].interface"],
    ["a negative index", { ips: [{ address: "1.1.1.1/8", interface: -1 }] }, "ips[0].interface"],
    ["a route without destination", { routes: [{ gw: "1.1.1.1" }] }, "routes[0].dst"],
    ["an interface without name", { interfaces: [{}] }, "interfaces[0].name"],
    ["DNS servers that are no list", { dns: { nameservers: "1.1.1.1" } }, "dns.nameservers"],
    ["ips that are an object", { ips: {} }, "ips must be a list"],
  ])("with %s says where", (_, source, where) => {
    expect(() => decodeResult(source, "1.0.0")).toThrow(where);
    expect(codeOf(() => decodeResult(source, "1.0.0"))).toBe("decode/malformed");
  });

  test.each(["{", "", "adsfasdf"])("text %j that is no JSON is malformed", (source) => {
    expect(codeOf(() => parseResult(source, "1.0.0"))).toBe("decode/malformed");
  });

  test("an unknown version cannot be converted", () => {
    expect(codeOf(() => decodeResult({ cniVersion: "2.0.0" }, "1.0.0"))).toBe("version/conversion");
  });
});

describe("a previous result", () => {
  for (const config of versions)
    for (const own of versions) {
      const fits = formOf[config] === formOf[own];
      test(`of version ${own} ${fits ? "fits" : "does not fit"} a configuration of ${config}`, () => {
        const read = () => decodePrevResult({ cniVersion: own }, config);
        expect(codeOf(read)).toBe(fits ? undefined : "prev-result/invalid");
      });
    }

  test.each([["a string"], [7], [[]], [null], [{ cniVersion: "11.1.0" }]])("%j is refused", (value) => {
    expect(codeOf(() => decodePrevResult(value, "1.0.0"))).toBe("prev-result/invalid");
  });
});
