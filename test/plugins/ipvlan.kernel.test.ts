/** `ipvlan` on a real kernel, by the built executable: modes, masters, and the host. */
import { describe, expect, test } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { addressIn, lan, type Lan } from "../../src/testing/lan.ts";
import { onKernelWith } from "../../src/testing/needs.ts";
import { seenFrom } from "../../src/testing/traffic.ts";

const heddle = heddleOfFile();

type Json = Readonly<Record<string, unknown>>;
const families = [
  [0, "10.95.0.1", "10.95.0.2"],
  [1, "fd95::1", "fd95::2"],
] as const;

const ipvlan = (on: Lan, more: Json = {}): Json => ({
  type: "ipvlan",
  master: "up0",
  enabledad: false,
  ipam: on.ipam([4, 6]),
  ...more,
});
const final = (conf: Json, prevResult: Json): Json => ({ ...conf, prevResult });

onKernelWith(["ipvlan"], () => {
  describe("ipvlan", () => {
    test("in STATUS looks for a master that is named; another may be that of the plugin before", async () => {
      await using on = await lan(heddle);
      const status = (conf: Json) =>
        on.host.call("ipvlan", { command: "STATUS" }, { cniVersion: "1.1.0", name: "net", ...conf });
      const unnamed = { type: "ipvlan", ipam: on.ipam([4]) };
      expect((await status(unnamed)).message).toBe("");
      expect((await status({ type: "ipvlan" })).message).toBe("");
      expect((await status({ ...unnamed, master: "up0" })).message).toBe("");
      expect(await status({ ...unnamed, master: "up9" })).toMatchObject({ error: 50 });
    });

    test("puts containers onto the network of its master, in both families", async () => {
      await using on = await lan(heddle);
      const [a, b] = [await on.container(), await on.container()];
      // Most hosts have a link of the name that the container's gets.
      await on.host.exec(["ip", "link", "add", "eth0", "type", "veth"]);
      const before = await on.snapshot(a, b);
      const [ra, rb] = [await on.add(a, ipvlan(on)), await on.add(b, ipvlan(on))];
      for (const [nth, , machine] of families) {
        expect(await seenFrom(a.path, b.path, addressIn(rb, nth), 80)).toBe(addressIn(ra, nth));
        expect(await seenFrom(a.path, on.machine.path, machine, 80)).toBe(addressIn(ra, nth));
      }
      const own = (await on.link(on.home, "up0"))["address"];
      expect(ra["interfaces"]).toEqual([{ name: "eth0", mac: own, mtu: 1500, sandbox: a.path }]);
      expect((await on.call("CHECK", a, final(ipvlan(on), ra))).message).toBe("");
      for (const at of [a, b, b]) expect((await on.call("DEL", at, ipvlan(on))).message).toBe("");
      expect(await on.snapshot(a, b)).toEqual(before);
    });

    test("refuses another mode than that of those who live on its master", async () => {
      await using on = await lan(heddle);
      const [a, b] = [await on.container(), await on.container()];
      await on.add(a, ipvlan(on, { mode: "l2", hostAccess: true }));
      const before = await on.snapshot(a, b);
      for (const mode of ["l3", "l3s"]) {
        const { error, message } = await on.call("ADD", b, ipvlan(on, { mode }));
        expect([error, message]).toEqual([104, expect.stringContaining(`ipvlan of container ${a.name}`)]);
      }
      expect(await on.snapshot(a, b)).toEqual(before);
      expect(await on.link(a.path, "eth0")).toMatchObject({ linkinfo: { info_data: { mode: "l2" } } });
      // Who is gone has no say, nor has what the host keeps for those to come.
      expect((await on.call("DEL", a, ipvlan(on))).message).toBe("");
      await on.add(b, ipvlan(on, { mode: "l3" }));
      expect((await on.call("DEL", b, ipvlan(on))).message).toBe("");
      await on.host.exec(["ip", "link", "add", "theirs", "link", "up0", "type", "ipvlan", "mode", "l3s"]);
      expect((await on.call("ADD", b, ipvlan(on))).message).toContain("ipvlan theirs");
    });

    test("has its master's address, and says so to who wants another", async () => {
      await using on = await lan(heddle);
      const a = await on.container();
      const prevResult = await on.add(a, ipvlan(on));
      const { error, message } = await on.call("ADD", a, {
        type: "tuning",
        mac: "02:00:00:00:00:55",
        mtu: 1400,
        prevResult,
      });
      expect([error, message]).toEqual([
        7,
        expect.stringContaining("mac: the address of eth0, a link of kind ipvlan"),
      ]);
      expect((await on.call("CHECK", a, final(ipvlan(on), prevResult))).message).toBe("");
    });

    test("needs neither default route nor previous result for CHECK and DEL", async () => {
      await using on = await lan(heddle);
      const a = await on.container();
      const before = await on.snapshot(a);
      const conf = ipvlan(on, { master: "" });
      expect((await on.call("ADD", a, conf)).message).toContain("default route");
      await on.host.exec(["ip", "route", "add", "default", "via", "10.95.0.2"]);
      const added = await on.add(a, conf);
      await on.host.exec(["ip", "route", "delete", "default"]);
      expect((await on.call("CHECK", a, final(conf, added))).message).toBe("");
      expect((await on.call("DEL", a, conf)).message).toBe("");
      expect(await on.snapshot(a)).toEqual(before);
    });

    test("behind another plugin has its interface as master, and its addresses", async () => {
      await using on = await lan(heddle);
      const a = await on.container();
      const prevResult = {
        cniVersion: "1.1.0",
        interfaces: [{ name: "up0" }],
        ips: [{ address: "10.95.0.99/24", interface: 0 }],
      };
      const conf = { type: "ipvlan", prevResult };
      const added = await on.add(a, conf);
      expect(addressIn(added)).toBe("10.95.0.99");
      expect(await seenFrom(on.machine.path, a.path, "10.95.0.99", 80)).toBe("10.95.0.2");
      expect((await on.call("CHECK", a, final({ type: "ipvlan" }, added))).message).toBe("");
      expect((await on.call("DEL", a, { type: "ipvlan" })).message).toBe("");
    });

    test("names the macvlan that is in the way, and the other way round", async () => {
      await using on = await lan(heddle);
      const [a, b] = [await on.container(), await on.container()];
      const macvlan = { type: "macvlan", master: "up0" };
      await on.add(a, macvlan);
      const before = await on.snapshot(a, b);
      const refused = await on.call("ADD", b, ipvlan(on));
      expect([refused.error, refused.message]).toEqual([
        104,
        expect.stringContaining(`macvlan of container ${a.name} (eth0, network net)`),
      ]);
      expect(await on.snapshot(a, b)).toEqual(before);
      await on.call("DEL", a, macvlan);
      await on.add(b, ipvlan(on));
      expect((await on.call("ADD", a, macvlan)).message).toContain(`ipvlan of container ${b.name}`);
    });
  });

  describe("hostAccess of ipvlan", () => {
    test.each(["l2", "l3", "l3s"])("lets host and containers reach one another in mode %s", async (mode) => {
      await using on = await lan(heddle);
      const [a, b] = [await on.container(), await on.container()];
      const conf = ipvlan(on, { mode, mtu: 1400, hostAccess: true });
      if (mode !== "l2") await on.host.exec(["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1"]);
      const [ra, rb] = [await on.add(a, conf), await on.add(b, conf)];
      expect(await on.link(a.path, "eth0")).toMatchObject({
        mtu: 1400,
        linkinfo: { info_kind: "ipvlan", info_data: { mode } },
      });
      expect(await seenFrom(a.path, b.path, addressIn(rb), 80)).toBe(addressIn(ra));
      for (const [nth, own] of families) {
        expect(await seenFrom(a.path, on.home, own, 80)).toBe(addressIn(ra, nth));
        expect(await seenFrom(on.home, a.path, addressIn(ra, nth), 80)).toBe(own);
      }
      expect((await on.call("CHECK", a, final(conf, ra))).message).toBe("");
      await on.call("DEL", b, conf);
      const before = await on.snapshot(a, b);
      await on.add(b, conf);
      expect((await on.call("DEL", b, conf)).message).toBe("");
      expect(await on.snapshot(a, b)).toEqual(before);
    });

    test("is refused in mode l2 where the host would drop what containers send", async () => {
      await using on = await lan(heddle);
      const a = await on.container();
      await on.host.exec(["sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1"]);
      const before = await on.snapshot(a);
      const refused = await on.call("ADD", a, ipvlan(on, { hostAccess: true }));
      expect([refused.error, refused.message]).toEqual([7, expect.stringContaining("rp_filter to 2")]);
      expect(await on.snapshot(a)).toEqual(before);
    });
  });
});
