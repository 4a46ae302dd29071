/** The bytes that flanneld writes for each of its backends, as the manual shows them. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { BackendData, Json } from "../../fabric/model.ts";
import { udpTransport } from "../../fabric/transport/udp.ts";
import { cidr } from "../../testing/address.ts";
import { fabricNode, hostFacts, publics } from "../../testing/fabric.ts";
import { keyPair, keyText } from "../../testing/wireguard.ts";
import { ANNOTATION_PREFIX, annotationNames, readAnnouncement, writtenOf } from "./kube-annotations.ts";
import { leaseName, leaseValue, parseLeaseName, parseLeaseValue } from "./lease-codec.ts";
import { readNetwork } from "./provider.ts";
import { formatSubnetEnv, type Previous } from "./subnet-env.ts";
import { kernelTransport } from "./transports.ts";
import { wireguardOf } from "./wireguard-options.ts";

const page = readFileSync(join(import.meta.dir, "../../../docs/providers/flannel.md"), "utf8");
const leases = [...page.matchAll(/^(\d\S+) +(\{"PublicIP".*\})$/gm)].map(
  ([, name = "", value = ""]) => [name, value] as const,
);

describe("a lease of flanneld", () => {
  test.each(leases)("%s with %s is read, and written with the same bytes", (name, value) => {
    const [subnets, told] = [parseLeaseName(name), parseLeaseValue(value)];
    if (!subnets.ok || !told.ok) throw new Error("refused");
    expect([leaseName(subnets.value), leaseValue(told.value)]).toEqual([name, value]);
  });

  test("is shown for each of its backends", () => {
    const theirs = leases.filter(([, value]) => !value.includes('"Heddle"'));
    const types = theirs.map(
      ([, value]) => (JSON.parse(value) as { BackendType?: string }).BackendType ?? "",
    );
    expect(types).toEqual(["vxlan", "vxlan", "host-gw", "ipip", "wireguard", "extension", ""]);
  });
});

const [AT4, AT6] = [{ at4: "192.0.2.3" }, { at6: "2001:db8::3" }];
const BOTH = { ...AT4, ...AT6 };
type At = { readonly at4?: string; readonly at6?: string };

/** What a host announces whose random bytes are 16, 17, 18, … */
function announced(type: string, at: At, options: Readonly<Record<string, Json>> = {}): BackendData {
  const counting = (bytes: Uint8Array): Uint8Array => bytes.map((_, i) => i + 16);
  const transport =
    type === "udp"
      ? udpTransport({ port: 8285 })
      : type === "wireguard"
        ? wireguardOf(options, [4, 6])
        : kernelTransport({ type, options }, counting);
  const said = transport?.announce({ ...hostFacts(at), keys: keyPair(1) }, undefined);
  if (said === undefined) throw new Error(`no ${type}`);
  return said;
}

const KEY = { PublicKey: keyText(1), Port: 51820 };
const KEY6 = { ...KEY, Port: 51821 };
const MAC = '{"VNI":1,"VtepMAC":"12:11:12:13:14:15"}';
const KEYTEXT = JSON.stringify(KEY);
const KEYTEXT6 = JSON.stringify(KEY6);
const ipOf = ({ at4, at6 }: At): string =>
  `"PublicIP":"${at4 ?? "0.0.0.0"}","PublicIPv6":${at6 === undefined ? "null" : `"${at6}"`}`;

/** The end of a lease's value, and the annotations: backend-type, then data and address of IPv4, then those of IPv6. */
type Row = readonly [
  what: string,
  at: At,
  backend: BackendData,
  value: string,
  annotations: readonly (string | undefined)[],
];
const none = undefined;
const backends: readonly Row[] = [
  [
    "vxlan",
    AT4,
    announced("vxlan", AT4),
    `,"BackendType":"vxlan","BackendData":${MAC}`,
    ["vxlan", MAC, AT4.at4, none, none],
  ],
  [
    "vxlan of both families",
    BOTH,
    announced("vxlan", BOTH),
    `,"BackendType":"vxlan","BackendData":${MAC},"BackendV6Data":${MAC}`,
    ["vxlan", MAC, AT4.at4, MAC, AT6.at6],
  ],
  [
    "vxlan of IPv6",
    AT6,
    announced("vxlan", AT6),
    `,"BackendType":"vxlan","BackendV6Data":${MAC}`,
    ["vxlan", none, none, MAC, AT6.at6],
  ],
  [
    "vxlan with another number",
    AT4,
    announced("vxlan", AT4, { VNI: 77 }),
    `,"BackendType":"vxlan","BackendData":${MAC.replace("1,", "77,")}`,
    ["vxlan", MAC.replace("1,", "77,"), AT4.at4, none, none],
  ],
  [
    "host-gw",
    AT4,
    announced("host-gw", AT4),
    `,"BackendType":"host-gw"`,
    ["host-gw", "null", AT4.at4, none, none],
  ],
  [
    "host-gw of both families",
    BOTH,
    announced("host-gw", BOTH),
    `,"BackendType":"host-gw"`,
    ["host-gw", "null", AT4.at4, "null", AT6.at6],
  ],
  [
    "host-gw of IPv6",
    AT6,
    announced("host-gw", AT6),
    `,"BackendType":"host-gw"`,
    ["host-gw", "null", "0.0.0.0", "null", AT6.at6],
  ],
  ["ipip", AT4, announced("ipip", AT4), `,"BackendType":"ipip"`, ["ipip", "null", AT4.at4, none, none]],
  ["alloc", AT4, announced("alloc", AT4), "", ["", "null", AT4.at4, none, none]],
  ["udp, as flanneld has it", AT4, { type: "" }, "", ["", "null", AT4.at4, none, none]],
  [
    "wireguard",
    AT4,
    announced("wireguard", AT4),
    `,"BackendType":"wireguard","BackendData":${KEYTEXT}`,
    ["wireguard", KEYTEXT, AT4.at4, none, none],
  ],
  [
    "wireguard of both families",
    BOTH,
    announced("wireguard", BOTH),
    `,"BackendType":"wireguard","BackendData":${KEYTEXT},"BackendV6Data":${KEYTEXT6}`,
    ["wireguard", KEYTEXT, AT4.at4, KEYTEXT6, AT6.at6],
  ],
  [
    "wireguard of IPv6",
    AT6,
    announced("wireguard", AT6),
    `,"BackendType":"wireguard","BackendV6Data":${KEYTEXT6}`,
    ["wireguard", "null", "0.0.0.0", KEYTEXT6, AT6.at6],
  ],
  [
    "extension, with what a command printed",
    AT4,
    { type: "extension", v4: 'a<b> & "c"\u2028\n' },
    String.raw`,"BackendType":"extension","BackendData":"a\u003cb\u003e \u0026 \"c\"\u2028\n"`,
    ["extension", String.raw`"a\u003cb\u003e \u0026 \"c\"\u2028\n"`, AT4.at4, none, none],
  ],
  [
    "extension without a command",
    BOTH,
    { type: "extension" },
    `,"BackendType":"extension"`,
    ["extension", "", AT4.at4, "null", AT6.at6],
  ],
];

describe("what a host announces has flanneld's bytes,", () => {
  const names = annotationNames(ANNOTATION_PREFIX);
  test.each(backends)("in a lease: %s", (_what, at, backend, value) => {
    const text = leaseValue({ publics: publics(at), backend });
    expect(text).toBe(`{${ipOf(at)}${value}}`);
    expect(parseLeaseValue(text)).toEqual({ ok: true, value: { publics: publics(at), backend } });
  });

  test.each(backends)("in annotations: %s", (_what, at, backend, _value, wanted) => {
    const written = writtenOf(names, { publics: publics(at), backend }, {});
    const { managed, type, data4, public4, data6, public6 } = names;
    expect(written[managed]).toBe("true");
    expect([type, data4, public4, data6, public6].map((name) => written[name])).toEqual([...wanted]);
    const there = Object.entries(written).flatMap(([name, text]) =>
      text === undefined ? [] : [[name, text]],
    );
    const read = readAnnouncement(names, Object.fromEntries(there) as Record<string, string>);
    expect(read).toEqual({ ok: true, value: { publics: publics(at), backend } });
  });
});

test("udp tells in its data what flanneld does not look at, and IPv6, which flanneld does not have", () => {
  const backend = announced("udp", BOTH);
  expect(leaseValue({ publics: publics(BOTH), backend })).toBe(
    `{${ipOf(BOTH)},"BackendData":{"Heddle":1},"BackendV6Data":{"Heddle":1}}`,
  );
  const names = annotationNames(ANNOTATION_PREFIX);
  const written = writtenOf(names, { publics: publics(AT6), backend: announced("udp", AT6) }, {});
  expect([written[names.data6], written[names.public6]]).toEqual(['{"Heddle":1}', AT6.at6]);
});

describe("subnet.env", () => {
  const v4 = { network: cidr("10.244.0.0/16"), subnet: cidr("10.244.3.0/24") };
  const v6 = { network: cidr("2001:cafe:42::/56"), subnet: cidr("2001:cafe:42:3::/64") };
  const four = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\n";
  const six = "FLANNEL_IPV6_NETWORK=2001:cafe:42::/56\nFLANNEL_IPV6_SUBNET=2001:cafe:42:3::1/64\n";
  test.each<readonly [string, Previous, string]>([
    ["IPv4", { v4 }, four],
    ["IPv6", { v6 }, six],
    ["both families", { v4, v6 }, four + six],
  ])("of %s has flanneld's bytes", (_what, parts, text) => {
    expect(formatSubnetEnv({ ...parts, mtuBytes: 1450, ipMasq: true })).toBe(
      `${text}FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n`,
    );
    expect(formatSubnetEnv({ ...parts, mtuBytes: 1500, ipMasq: false })).toBe(
      `${text}FLANNEL_MTU=1500\nFLANNEL_IPMASQ=false\n`,
    );
  });
});

test("subnet.env is shown as it is written", () => {
  const text = formatSubnetEnv({
    v4: { network: cidr("10.244.0.0/16"), subnet: cidr("10.244.3.0/24") },
    v6: { network: cidr("2001:cafe:42::/56"), subnet: cidr("2001:cafe:42:3::/64") },
    mtuBytes: 1450,
    ipMasq: true,
  });
  expect(page).toContain(text);
});

describe("a network's configuration means what it means to flanneld:", () => {
  const host = hostFacts(AT4);
  const read = (backend: string) => {
    const network = readNetwork(`{"Network":"10.244.0.0/16"${backend}}`, { blackholeRoute: false });
    if (!network.ok) throw new Error(network.why);
    return network.value;
  };

  test.each([
    ["", "udp", 1472],
    [',"Backend":{"Type":"udp","Port":8286}', "udp", 1472],
    [',"Backend":{"Type":"vxlan"}', "vxlan", 1450],
    [',"Backend":{"Type":"VXLAN"}', "vxlan", 1450],
    [',"Backend":{"Type":"vxlan","mtu":1400}', "vxlan", 1350],
    [',"Backend":{"Type":"host-gw"}', "host-gw", 1500],
    [',"Backend":{"Type":"ipip","directrouting":true}', "ipip", 1480],
    [',"Backend":{"Type":"wireguard"}', "wireguard", 1420],
    [',"Backend":{"Type":"wireguard","mtu":1400}', "wireguard", 1320],
    [',"Backend":{"Type":"alloc"}', "alloc", 1500],
  ])("%s is %s, and FLANNEL_MTU is %d over 1500", (backend, type, mtuBytes) => {
    const { transport } = read(backend);
    expect([transport.type, transport.mtuBytes(host)]).toEqual([type, mtuBytes]);
  });

  test("udp listens on 8285 unless it is told", () => {
    const self = fabricNode("10.244.3.0-24", { v4: "10.244.3.0/24", ...AT4, backend: { type: "" } });
    const portOf = (backend: string): number | undefined => {
      const { whole, carriage } = read(backend);
      return carriage?.({ network: whole, self, peers: [] }, host).port;
    };
    expect([portOf(""), portOf(',"Backend":{"Type":"udp","port":8286}')]).toEqual([8285, 8286]);
  });
});
