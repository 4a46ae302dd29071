import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { ATTACHMENT_LIVE, cniCode } from "../../../cni/errors.ts";
import { type NetworkList, parseNetworkList } from "../../../cni/list.ts";
import {
  addNetworkList,
  type Attachment,
  checkNetworkList,
  delNetworkList,
  gcNetworkList,
  statusNetworkList,
} from "../../../cni/runtime.ts";
import { NetError } from "../../../errors.ts";
import { testWith } from "../../../testing/needs.ts";
import { addresses, failure, rejection, runtimeFixture } from "../../../testing/runtime.ts";
import { flannel } from "./plugin.ts";

const ENV =
  "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";

type Json = Readonly<Record<string, unknown>>;
let t: ReturnType<typeof runtimeFixture>;
let subnetFile: string;
let dataDir: string;
beforeEach(() => {
  t = runtimeFixture();
  t.install(flannel);
  subnetFile = join(t.dir, "run", "subnet.env");
  dataDir = join(t.dir, "data");
  mkdirSync(join(t.dir, "run"));
  writeFileSync(subnetFile, ENV);
});
afterEach(() => rmSync(t.dir, { recursive: true, force: true }));

const attachment = (containerId = "c1", ifname = "eth0"): Attachment => ({
  containerId,
  ifname,
  netns: t.netns(`${containerId}-${ifname}`),
});
const list = (delegate: Json = { type: "a" }, more: Json = {}, version = "1.1.0"): NetworkList => {
  const entry = { type: "flannel", subnetFile, dataDir, delegate, ...more };
  return parseNetworkList(JSON.stringify({ cniVersion: version, name: "net", plugins: [entry] }), "test");
};
const files = (): readonly string[] => (existsSync(dataDir) ? readdirSync(dataDir).toSorted() : []);
const content = (name: string): Json => JSON.parse(readFileSync(join(dataDir, name), "utf8")) as Json;
const add = (network = list(), to = attachment()) => addNetworkList(t.runtime, network, to);
const del = (network = list(), to = attachment()) => delNetworkList(t.runtime, network, to);
/** As a runtime that does not remember what it attached. */
const forgetful = (): void => rmSync(join(t.dir, "cache"), { recursive: true, force: true });
const told = (): readonly Json[] => t.seen.splice(0).map(({ raw }) => raw);

describe("ADD", () => {
  test("gives the delegate's result, and keeps what it was given for root alone", async () => {
    const result = await add();
    expect(addresses(result)).toEqual(["10.0.0.1/24"]);
    expect(files()).toEqual(["c1"]);
    const { mode } = statSync(join(dataDir, "c1"));
    expect([mode & 0o777, statSync(dataDir).mode & 0o777]).toEqual([0o600, 0o700]);
    const [given] = told();
    expect(content("c1")).toEqual({ ...given, heddle: { ifname: "eth0" } });
    expect(given).toMatchObject({ type: "a", name: "net", mtu: 1472, ipMasq: false });
  });

  test("without the daemon's file asks to try again, and says what writes it", async () => {
    rmSync(subnetFile);
    const e = await rejection(add());
    expect(cniCode(e)).toBe(11);
    expect(String(e)).toContain("subnet.env is not there, so this host has no subnet yet");
    // The runtime has every plugin that ran take back what it made.
    expect(t.steps()).toEqual(["DEL a"]);
    expect(files()).toEqual([]);
  });

  test("with a file that is wrong names what is wrong in it", async () => {
    writeFileSync(subnetFile, ENV.replace("1472", "big"));
    const e = await rejection(add());
    expect(cniCode(e)).toBe(6);
    expect(String(e)).toContain('subnet.env: FLANNEL_MTU: "big" is no MTU');
  });

  test("that fails is taken back, and keeps nothing", async () => {
    t.fails.set("ADD a", failure("boom"));
    const e = await rejection(add());
    expect(cniCode(e)).toBe(11);
    expect(t.steps()[0]).toBe("ADD a");
    expect(files()).toEqual([]);
  });

  test("that cannot be taken back keeps what DEL needs", async () => {
    t.fails.set("ADD a", failure("boom"));
    t.fails.set("DEL a", failure("busy"));
    expect(String(await rejection(add()))).toContain("busy");
    expect(files()).toEqual(["c1"]);
    t.fails.clear();
    await del();
    expect(files()).toEqual([]);
  });

  test("of a live attachment leaves it and its file as they are", async () => {
    await add();
    const before = readFileSync(join(dataDir, "c1"), "utf8");
    told();
    writeFileSync(subnetFile, ENV.replaceAll("10.1.", "10.2."));
    const live = new NetError("attachment/live", { containerId: "c1", ifname: "eth0", network: "net" });
    t.fails.set("ADD a", live);
    forgetful();
    expect(cniCode(await rejection(add()))).toBe(ATTACHMENT_LIVE);
    expect(t.steps()).toEqual(["ADD a"]);
    expect(readFileSync(join(dataDir, "c1"), "utf8")).toBe(before);
  });

  test("of a second interface of one container has a file of its own", async () => {
    await add(list(), attachment("c1", "net1"));
    await add(list(), attachment("c1", "eth0"));
    expect(files()).toEqual(["c1", "c1:eth0"]);
    writeFileSync(subnetFile, ENV.replaceAll("10.1.", "10.2."));
    told();
    await del(list(), attachment("c1", "net1"));
    expect(files()).toEqual(["c1:eth0"]);
    await del(list(), attachment("c1", "eth0"));
    expect(files()).toEqual([]);
    for (const raw of told()) expect(JSON.stringify(raw["ipam"])).toContain("10.1.17.0/24");
  });

  testWith({ root: true })(
    "is refused, as DEL is, where somebody else could have put what is kept",
    async () => {
      mkdirSync(dataDir, { mode: 0o700 });
      const evil = JSON.stringify({ type: "a", name: "net", cniVersion: "1.0.0", by: "somebody else" });
      writeFileSync(join(dataDir, "c1"), evil);
      chownSync(dataDir, 65534, 65534);
      const why = `dataDir: ${dataDir} belongs to user 65534`;
      expect(String(await rejection(add()))).toContain(why);
      expect(String(await rejection(del()))).toContain(why);
      expect(told()).toEqual([]);
      expect(readFileSync(join(dataDir, "c1"), "utf8")).toBe(evil);
    },
  );

  test("fails with the kernel's reason when nothing can be kept, and then nothing is made", async () => {
    writeFileSync(dataDir, "a file");
    const e = await rejection(add());
    expect(cniCode(e)).toBe(5);
    expect(t.steps().filter((s) => s.startsWith("ADD"))).toEqual([]);
    rmSync(dataDir);
  });
});

describe("DEL", () => {
  test("goes by what was kept, whatever the file and the configuration say by now", async () => {
    await add();
    told();
    writeFileSync(subnetFile, ENV.replaceAll("10.1.", "10.2."));
    await del(list({ type: "b" }));
    const [raw] = told();
    expect(raw).toMatchObject({ type: "a", ipam: { ranges: [[{ subnet: "10.1.17.0/24" }]] } });
    expect(raw).not.toHaveProperty("heddle");
    expect(files()).toEqual([]);
  });

  test("needs no file of the daemon, and no valid configuration", async () => {
    await add();
    rmSync(subnetFile);
    told();
    await del(list({ type: "a", name: "wrong" }));
    expect(told()[0]).toMatchObject({ type: "a" });
    expect(files()).toEqual([]);
  });

  test("keeps the file until the delegate is done", async () => {
    await add();
    t.fails.set("DEL a", failure("busy"));
    expect(cniCode(await rejection(del()))).toBe(11);
    expect(files()).toEqual(["c1"]);
    t.fails.clear();
    await del();
    expect(files()).toEqual([]);
  });

  test("of what was never attached succeeds, and asks the delegate of now", async () => {
    await del();
    expect(t.steps()).toEqual(["DEL a"]);
    t.fails.set("DEL a", failure("cannot"));
    await del();
    await del(list({ type: "nowhere" }));
    rmSync(subnetFile);
    await del();
  });

  test("of a file that cannot be read does as without it, and removes it", async () => {
    await add();
    told();
    writeFileSync(join(dataDir, "c1"), '{"type":');
    await del();
    expect(t.steps()).toEqual(["DEL a"]);
    expect(files()).toEqual([]);
  });

  test("takes what the original plugin kept, and leaves that of another network", async () => {
    mkdirSync(dataDir);
    const kept = {
      cniVersion: "0.3.1",
      name: "net",
      type: "b",
      ipam: { ranges: [[{ subnet: "10.7.0.0/24" }]] },
    };
    writeFileSync(join(dataDir, "c1"), JSON.stringify({ ...kept, name: "other" }));
    await del();
    expect(files()).toEqual(["c1"]);
    told();
    writeFileSync(join(dataDir, "c1"), JSON.stringify(kept));
    await del();
    expect(told()[0]).toMatchObject({ type: "b", cniVersion: "1.1.0", ipam: kept.ipam });
    expect(files()).toEqual([]);
  });
});

describe("what a killed ADD has begun to write", () => {
  /** The name that it has until it is whole. */
  const begun = (): string => {
    const hash = Bun.hash.wyhash("net").toString(16);
    mkdirSync(dataDir, { recursive: true });
    writeFileSync(join(dataDir, `.${hash}:c1:eth0`), "{");
    return `.${hash}:c1:eth0`;
  };
  test("goes with DEL and with GC, unless GC is of another network or the attachment is valid", async () => {
    begun();
    await del();
    expect(files()).toEqual([]);
    const name = begun();
    const other = parseNetworkList(list().text.replace('"net"', '"other"'), "test");
    await gcNetworkList(t.runtime, other, []);
    await gcNetworkList(t.runtime, list(), [{ containerId: "c1", ifname: "eth0" }]);
    expect(files()).toEqual([name]);
    await gcNetworkList(t.runtime, list(), []);
    expect(files()).toEqual([]);
  });

  test("is written anew by ADD", async () => {
    begun();
    await add();
    expect(files()).toEqual(["c1"]);
    expect(content("c1")).toMatchObject({ type: "a" });
  });
});

describe("CHECK", () => {
  test("is the delegate's, with what was kept and the result", async () => {
    await add();
    told();
    writeFileSync(subnetFile, ENV.replaceAll("10.1.", "10.2."));
    await checkNetworkList(t.runtime, list(), attachment());
    const [raw] = told();
    expect(raw).toMatchObject({ type: "a", ipam: { ranges: [[{ subnet: "10.1.17.0/24" }]] } });
    expect(raw?.["prevResult"]).toBeDefined();
    t.fails.set("CHECK a", new NetError("check/differs", { what: "x", wanted: "1", found: "2" }));
    expect(cniCode(await rejection(checkNetworkList(t.runtime, list(), attachment())))).toBe(103);
  });

  test("misses what was kept", async () => {
    await add();
    rmSync(join(dataDir, "c1"));
    const e = await rejection(checkNetworkList(t.runtime, list(), attachment()));
    expect(cniCode(e)).toBe(103);
    expect(String(e)).toContain("what a was given for container c1");
  });
});

describe("GC", () => {
  test("runs the delegate, and forgets attachments that are gone", async () => {
    await add();
    await add(list(), attachment("c2"));
    told();
    rmSync(subnetFile);
    await gcNetworkList(t.runtime, list(), [{ containerId: "c2", ifname: "eth0" }]);
    expect(t.steps()).toContain("GC a");
    expect(files()).toEqual(["c2"]);
  });

  test("runs the delegates of earlier configurations, too", async () => {
    await add(list({ type: "b" }));
    t.steps();
    forgetful();
    await gcNetworkList(t.runtime, list(), [{ containerId: "c9", ifname: "eth0" }]);
    expect(t.steps().toSorted()).toEqual(["GC a", "GC b"]);
    expect(files()).toEqual([]);
  });

  test("that fails keeps the files, and so does one of another network", async () => {
    await add();
    t.fails.set("GC a", failure("busy"));
    t.fails.set("DEL a", failure("busy"));
    expect(await rejection(gcNetworkList(t.runtime, list(), []))).toBeDefined();
    expect(files()).toEqual(["c1"]);
    t.fails.clear();
    const other = parseNetworkList(
      JSON.stringify({
        cniVersion: "1.1.0",
        name: "other",
        plugins: [{ type: "flannel", dataDir, delegate: { type: "a" } }],
      }),
      "test",
    );
    await gcNetworkList(t.runtime, other, []);
    expect(files()).toEqual(["c1"]);
  });

  test("keeps what the original plugin kept for a container of which any interface is valid", async () => {
    mkdirSync(dataDir);
    for (const id of ["c1", "c2"])
      writeFileSync(join(dataDir, id), JSON.stringify({ name: "net", type: "a" }));
    writeFileSync(join(dataDir, ".other"), "");
    await gcNetworkList(t.runtime, list(), [{ containerId: "c1", ifname: "net7" }]);
    expect(files()).toEqual([".other", "c1"]);
  });
});

describe("STATUS", () => {
  test("is the delegate's", async () => {
    await statusNetworkList(t.runtime, list());
    expect(t.steps()).toEqual(["STATUS a"]);
    t.fails.set("STATUS a", new NetError("status/limited", { why: "full" }));
    expect(cniCode(await rejection(statusNetworkList(t.runtime, list())))).toBe(51);
  });

  test("tells that the daemon has not written its file, or what is wrong with it", async () => {
    writeFileSync(subnetFile, "FLANNEL_MTU=x");
    const wrong = await rejection(statusNetworkList(t.runtime, list()));
    expect([cniCode(wrong), String(wrong)]).toEqual([50, expect.stringContaining("subnet.env: ")]);
    rmSync(subnetFile);
    const absent = await rejection(statusNetworkList(t.runtime, list()));
    expect(cniCode(absent)).toBe(50);
    expect(String(absent)).toContain("heddle flanneld");
  });
});

test("capability arguments and versions reach the delegate", async () => {
  const network = list({ type: "a" }, { capabilities: { mac: true } }, "0.4.0");
  await add(network, { ...attachment(), capabilityArgs: { mac: "m", ips: ["i"] } });
  expect(told()[0]).toMatchObject({ cniVersion: "0.4.0", runtimeConfig: { mac: "m" } });
});
