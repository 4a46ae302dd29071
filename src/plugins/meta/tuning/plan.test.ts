import { describe, expect, test } from "bun:test";
import { isNetError } from "../../../errors.ts";
import { confOf, inputOf, objectsOf } from "../../../testing/plan.ts";
import { checkKeys, parseAllowlist } from "./allowlist.ts";
import { parseConfig, parseForRemoval } from "./config.ts";
import { parseBackup } from "./foreign.ts";
import { plan } from "./plan.ts";
import { sysctlPath } from "./sysctl-key.ts";

type Json = Readonly<Record<string, unknown>>;
const configOf = (raw: Json) => parseConfig(confOf("tuning", raw));
const previous = {
  interfaces: [
    { name: "eth0", mac: "02:00:00:00:00:99" },
    { name: "eth0", mac: "02:00:00:00:00:02", mtu: 1500, sandbox: "/run/netns/c" },
  ],
  ips: [{ address: "10.1.2.3/24", interface: 1 }],
};
const planOf = (raw: Json, args = "") => plan({ ...inputOf(configOf(raw), undefined, previous), args });
const attributesOf = (raw: Json, args = "") =>
  objectsOf(planOf(raw, args).state, "link-attributes")[0]?.attributes;
const sysctlsOf = (raw: Json) =>
  objectsOf(planOf(raw).state, "sysctl").map(({ key, value }) => `${key}=${value}`);
const fieldOf = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (e) {
    if (isNetError(e, "config/invalid")) return e.detail.field;
    throw e;
  }
};

describe("the configuration of tuning", () => {
  test.each([
    ["sysctl", { sysctl: "net.core.somaxconn=1" }],
    ["sysctl.net.core.somaxconn", { sysctl: { "net.core.somaxconn": 1 } }],
    ["sysctl.net.core.somaxconn", { sysctl: { "net.core.somaxconn": " " } }],
    ["sysctl", { sysctl: { "kernel.hostname": "x" } }],
    ["sysctl", { sysctl: { "net/../kernel/hostname": "x" } }],
    ["sysctl", { sysctl: { "net//core": "x" } }],
    ["sysctl", { sysctl: { "net.core/somaxconn": "x" } }],
    ["sysctl", { sysctl: { net: "x" } }],
    ["sysctl", { sysctl: { "/proc/sys/net/core/somaxconn": "x" } }],
    ["sysctl", { sysctl: { "net.core.somaxconn": "1", "net/core/somaxconn": "1" } }],
    ["args.cni.sysctl", { args: { cni: { sysctl: { "kernel.hostname": "x" } } } }],
    ["mac", { mac: "red" }],
    ["mac", { mac: "01:00:5e:00:00:01" }],
    ["mac", { mac: "00:00:00:00:00:00" }],
    ["runtimeConfig.mac", { runtimeConfig: { mac: "02-00" } }],
    ["args.cni.mac", { args: { cni: { mac: 7 } } }],
    ["promisc", { promisc: "yes" }],
    ["mtu", { mtu: 67 }],
    ["mtu", { mtu: 65536 }],
    ["args.cni.mtu", { args: { cni: { mtu: "1500" } } }],
    ["allmulti", { allmulti: 1 }],
    ["txQLen", { txQLen: -1 }],
    ["txQLen", { txQLen: 4294967296 }],
    ["dataDir", { dataDir: "tuning" }],
  ] as const)("names the field %s of %j", (field, raw) => {
    expect(fieldOf(() => configOf(raw))).toBe(field);
  });
  test("that became invalid does not stop removal, and says where the reference's files are", () => {
    const raw = { sysctl: 7, mtu: "x", dataDir: "/run/elsewhere" };
    expect(parseForRemoval(confOf("tuning", raw)).dataDir).toBe("/run/elsewhere");
    expect(parseForRemoval(confOf("tuning", { dataDir: 7 })).dataDir).toBe("/run/cni/tuning");
  });
});

describe("names of parameters", () => {
  test.each([
    ["net.ipv4.conf.all.forwarding", "net/ipv4/conf/all/forwarding"],
    ["net/ipv4/conf/all/forwarding", "net/ipv4/conf/all/forwarding"],
    ["net.ipv4.conf.eth0/5.arp_filter", "net/ipv4/conf/eth0.5/arp_filter"],
    ["net/ipv4/conf/eth0.5/arp_filter", "net/ipv4/conf/eth0.5/arp_filter"],
  ])("%s is the path %s", (key, path) => {
    expect(sysctlPath(key, "sysctl")).toBe(path);
  });
  test("hold IFNAME for the interface, once", () => {
    expect(sysctlsOf({ sysctl: { "net.ipv4.conf.IFNAME.arp_filter": "1" } })).toEqual([
      "net/ipv4/conf/eth0/arp_filter=1",
    ]);
  });
  test("may not be one parameter with the interface by name and by IFNAME", () => {
    const twice = { "net.ipv4.conf.IFNAME.arp_filter": "1", "net.ipv4.conf.eth0.arp_filter": "0" };
    expect(fieldOf(() => sysctlsOf({ sysctl: twice }))).toBe("sysctl");
  });
  test("of args come before the same ones of the configuration, also without any there", () => {
    const args = { cni: { sysctl: { "net/core/somaxconn": "7" } } };
    const sysctl = { "net.core.somaxconn": "5", "net.ipv4.ip_forward": "1" };
    expect(sysctlsOf({ sysctl, args })).toEqual(["net/ipv4/ip_forward=1", "net/core/somaxconn=7"]);
    expect(sysctlsOf({ args })).toEqual(["net/core/somaxconn=7"]);
  });
});

describe("the MAC address of tuning", () => {
  const at = (n: number): string => `02:00:00:00:00:0${n}`;
  test("is that of args, else of the runtime, else of CNI_ARGS, else of the configuration", () => {
    const all = { mac: at(1), runtimeConfig: { mac: at(3) }, args: { cni: { mac: at(4) } } };
    expect(attributesOf(all, `MAC=${at(2)}`)?.mac as string).toBe(at(4));
    expect(attributesOf({ ...all, args: {} }, `MAC=${at(2)}`)?.mac as string).toBe(at(3));
    expect(attributesOf({ mac: at(1) }, `IgnoreUnknown=1;MAC=${at(2)}`)?.mac as string).toBe(at(2));
    expect(attributesOf({ mac: at(1), runtimeConfig: { mac: "" } })?.mac as string).toBe(at(1));
  });
  test("of CNI_ARGS has to be one of a single link", () => {
    expect(fieldOf(() => planOf({}, "MAC=01:00:5e:00:00:01"))).toBe("CNI_ARGS MAC");
  });
});

describe("the plan of tuning", () => {
  test("has the attributes that are asked for, those of args first, and no others", () => {
    expect(attributesOf({ mtu: 1400, promisc: true, allmulti: false, txQLen: 0 })).toEqual({
      mtuBytes: 1400,
      promiscuous: true,
      allMulticast: false,
      txQueueLength: 0,
    });
    const args = { cni: { mtu: 1300, promisc: false, allmulti: true, txQLen: 9 } };
    expect(attributesOf({ mtu: 1400, promisc: true, args })).toEqual({
      mtuBytes: 1300,
      allMulticast: true,
      txQueueLength: 9,
    });
    expect(attributesOf({ mtu: 0, promisc: false })).toBeUndefined();
  });
  test("borrows everything, inside the container", () => {
    const { state } = planOf({ mtu: 1400, sysctl: { "net.core.somaxconn": "5" } });
    expect(state.objects.map((o) => [o.kind, o.possession, "place" in o && o.place])).toEqual([
      ["sysctl", "borrowed", "container"],
      ["link-attributes", "borrowed", "container"],
    ]);
  });
  test("passes the previous result on, with what it changed of the container's interface", () => {
    const { interfaces, ips } = planOf({ mac: "02:00:00:00:00:AA", mtu: 1400 }).result;
    expect(interfaces.map((i) => [i.mac, i.mtu])).toEqual([
      ["02:00:00:00:00:99", undefined],
      ["02:00:00:00:00:aa", 1400],
    ]);
    expect(ips).toHaveLength(1);
  });
});

describe("the list of what is allowed", () => {
  const allowed = parseAllowlist("^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$\n\n  somaxconn  \n");
  test("matches anywhere in the key as it is written", () => {
    expect(() => checkKeys(["net.ipv4.conf.IFNAME.arp_filter", "net/core/somaxconn"], allowed)).not.toThrow();
    expect(fieldOf(() => checkKeys(["net/ipv4/conf/IFNAME/arp_filter"], allowed))).toBe(
      "sysctl.net/ipv4/conf/IFNAME/arp_filter",
    );
  });
  test("that is empty allows nothing", () => {
    expect(() => checkKeys(["net.core.somaxconn"], parseAllowlist("\n"))).toThrow("not allowed");
  });
  test.each(["[", "\\Anet", "(?P<x>net)"])("names the line with %s, which is no expression", (line) => {
    expect(() => parseAllowlist(`net\n\n${line}\n`)).toThrow("allowlist.conf, line 3");
  });
});

describe("the reference's file of old values", () => {
  test("says what to put back", () => {
    const text = '{"mac":"3a:2f:02:f0:cd:fd","promisc":false,"mtu":1500,"allmulti":false,"txQLen":1000}';
    expect(parseBackup(text) as object).toEqual({
      mac: "3a:2f:02:f0:cd:fd",
      promiscuous: false,
      mtuBytes: 1500,
      allMulticast: false,
      txQueueLength: 1000,
    });
    expect(parseBackup("{}")).toEqual({});
  });
  test.each(["", "{", "[]", '{"mac":"x"}', '{"mtu":-1}'])("that is %j is refused", (text) => {
    expect(() => parseBackup(text)).toThrow();
  });
});
