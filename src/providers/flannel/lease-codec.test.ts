import { describe, expect, test } from "bun:test";
import { ip } from "../../testing/address.ts";
import { subnets } from "../../testing/fabric.ts";
import {
  DATA_LIMIT,
  leaseName,
  leaseValue,
  parseLeaseName,
  parseLeaseValue,
  VALUE_LIMIT,
} from "./lease-codec.ts";

describe("the name of a lease", () => {
  test.each([
    ["10.12.13.0-24", subnets({ v4: "10.12.13.0/24" })],
    ["10.12.13.0-24&fd00:12:13::-56", subnets({ v4: "10.12.13.0/24", v6: "fd00:12:13::/56" })],
    ["10.0.0.4-30&fd00:1:0:2::-64", subnets({ v4: "10.0.0.4/30", v6: "fd00:1:0:2::/64" })],
    ["0.0.0.0-0&fd00:12:13::-56", subnets({ v6: "fd00:12:13::/56" })],
  ])("%s is written and read", (name, value) => {
    expect(leaseName(value)).toBe(name);
    expect(parseLeaseName(name)).toEqual({ ok: true, value });
  });

  test.each([
    ["", "not ADDRESS-LENGTH"],
    ["config", "not ADDRESS-LENGTH"],
    ["10.1.2.0/24", "not ADDRESS-LENGTH"],
    ["10.1.2.0-24/x", "not ADDRESS-LENGTH"],
    ["x/10.1.2.0-24", "not ADDRESS-LENGTH"],
    ["10.1.2.0-24\n", "not ADDRESS-LENGTH"],
    ["10.1.2.3-24", "bits behind its length"],
    ["10.1.2.0-33", "more than 32"],
    ["10.1.2.0-0", "no subnet of IPv4"],
    ["0.0.0.0-0", "names no subnet"],
    ["10.1.2.0-24&", "not ADDRESS-LENGTH"],
    ["10.1.2.0-24&fd00::1-64", "bits behind its length"],
    ["10.1.2.0-24&fd00:0::-64", "should be 10.1.2.0-24&fd00::-64"],
    ["10.1.2.0-24&FD00::-64", "not ADDRESS-LENGTH"],
    ["10.1.2.0-24&10.1.3.0-24", "no subnet of IPv6"],
    ["10.1.2.0-24&::ffff:10.1.3.0-24", "no subnet of IPv6"],
    ["010.1.2.0-24", "not an address"],
    [`10.1.2.0-24&${"0:".repeat(500)}-64`, "not ADDRESS-LENGTH"],
  ])("%j is refused: %s", (name, why) => {
    const parsed = parseLeaseName(name);
    expect(parsed.ok ? "accepted" : parsed.why).toContain(why);
  });
});

describe("the value of a lease", () => {
  const v4 = ip("192.0.2.1");
  test.each([
    [
      { publics: { v4 }, backend: { type: "vxlan", v4: { VNI: 1, VtepMAC: "8a:4b:2c:00:11:22" } } },
      '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"8a:4b:2c:00:11:22"}}',
    ],
    [
      { publics: { v4 }, backend: { type: "host-gw" } },
      '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"host-gw"}',
    ],
    [
      {
        publics: { v4, v6: ip("fd00::1") },
        backend: { type: "wireguard", v4: { Port: 1 }, v6: { Port: 2 } },
      },
      '{"PublicIP":"192.0.2.1","PublicIPv6":"fd00::1","BackendType":"wireguard","BackendData":{"Port":1},"BackendV6Data":{"Port":2}}',
    ],
    [
      { publics: { v6: ip("fd00::1") }, backend: { type: "vxlan", v6: { VNI: 1 } } },
      '{"PublicIP":"0.0.0.0","PublicIPv6":"fd00::1","BackendType":"vxlan","BackendV6Data":{"VNI":1}}',
    ],
  ])("%j is written as flanneld does, and read", (announcement, text) => {
    expect(leaseValue(announcement)).toBe(text);
    expect(parseLeaseValue(text)).toEqual({ ok: true, value: announcement });
  });

  test("is read with keys in any case, null for absent, and others left alone", () => {
    const text =
      '{"publicip":"192.0.2.1","PUBLICIPV6":null,"BackendType":"udp","BackendData":null,"New":[1]}';
    expect(parseLeaseValue(text)).toEqual({ ok: true, value: { publics: { v4 }, backend: { type: "udp" } } });
  });

  test.each([
    ["", "JSON"],
    ["null", "no JSON object"],
    ["[]", "no JSON object"],
    ['{"PublicIP":"192.0.2.1"', "JSON"],
    ["{}", "no public address"],
    ['{"PublicIP":"::1"}', "not of IPv4"],
    ['{"PublicIP":7}', "PublicIP: is no text"],
    ['{"PublicIP":"192.0.2.1","PublicIPv6":"192.0.2.1"}', "not of IPv6"],
    ['{"PublicIP":"192.0.2.1","BackendType":{}}', "BackendType is no name"],
    [`{"PublicIP":"192.0.2.1","BackendData":${"[".repeat(100)}${"]".repeat(100)}}`, "nested deeper"],
  ])("%s is refused: %s", (text, why) => {
    const parsed = parseLeaseValue(text);
    expect(parsed.ok ? "accepted" : parsed.why).toContain(why);
  });

  test("is read up to a length that no host needs, and refused before it is parsed if it is longer", () => {
    const longest = { publics: { v4 }, backend: { type: "extension", v4: "x".repeat(DATA_LIMIT - 2) } };
    expect(parseLeaseValue(leaseValue(longest))).toEqual({ ok: true, value: longest });
    expect(parseLeaseValue("{".repeat(VALUE_LIMIT + 1))).toEqual({
      ok: false,
      why: "the value is longer than 32768 characters",
    });
  });
});
