/** `vlan` on a real kernel, by the built executable: tags on the wire, sizes, masters, and one VLAN taken twice. */
import { describe, expect, test } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { addressIn, lan, type Lan } from "../../src/testing/lan.ts";
import { onKernelWith } from "../../src/testing/needs.ts";
import { seenFrom } from "../../src/testing/traffic.ts";

const heddle = heddleOfFile();

type Json = Readonly<Record<string, unknown>>;
const vlan = (on: Lan, more: Json = {}): Json => ({
  type: "vlan",
  master: "up0",
  vlanId: 100,
  enabledad: false,
  ipam: on.ipam([4, 6]),
  ...more,
});

onKernelWith(["vlan"], () => {
  describe("vlan", () => {
    test("tags what the container sends, and gives it what comes with the tag", async () => {
      await using on = await lan(heddle);
      const a = await on.container();
      const before = await on.snapshot(a);
      await on.machine.exec(["ip", "address", "flush", "dev", "lan"]);
      await on.machine.exec([
        "ip",
        "link",
        "add",
        "link",
        "lan",
        "name",
        "tagged",
        "type",
        "vlan",
        "id",
        "100",
      ]);
      await on.machine.exec(["ip", "link", "set", "tagged", "up"]);
      for (const address of ["10.95.0.2/24", "fd95::2/64"])
        await on.machine.exec([
          ...["ip", "address", "add", address, "dev", "tagged"],
          ...(address.includes(":") ? ["nodad"] : []),
        ]);
      const added = await on.add(a, vlan(on));
      for (const [nth, machine] of ["10.95.0.2", "fd95::2"].entries()) {
        expect(await seenFrom(a.path, on.machine.path, machine, 80)).toBe(addressIn(added, nth));
        expect(await seenFrom(on.machine.path, a.path, addressIn(added, nth), 80)).toBe(machine);
      }
      const own = (await on.link(on.home, "up0"))["address"];
      expect(added["interfaces"]).toEqual([{ name: "eth0", mac: own, mtu: 1500, sandbox: a.path }]);
      expect(await on.link(a.path, "eth0")).toMatchObject({
        address: own,
        linkinfo: { info_kind: "vlan", info_data: { id: 100 } },
      });
      expect((await on.call("CHECK", a, { ...vlan(on), prevResult: added })).message).toBe("");
      for (const _ of [1, 2]) expect((await on.call("DEL", a, vlan(on))).message).toBe("");
      expect(await on.snapshot(a)).toEqual(before);
    });

    test("has the size of its master or less, and the MAC address that was asked for", async () => {
      await using on = await lan(heddle);
      const a = await on.container();
      const before = await on.snapshot(a);
      const mac = "02:00:00:00:00:42";
      expect(await on.call("ADD", a, vlan(on, { mtu: 1501 }))).toMatchObject({ error: 7 });
      expect(await on.snapshot(a)).toEqual(before);
      const conf = vlan(on, { mtu: 1300, runtimeConfig: { mac } });
      const added = await on.add(a, conf);
      expect(await on.link(a.path, "eth0")).toMatchObject({ mtu: 1300, address: mac });
      expect((await on.call("CHECK", a, { ...conf, prevResult: added })).message).toBe("");
      await a.exec(["ip", "link", "set", "eth0", "mtu", "1280"]);
      const untold = { ...added, interfaces: [{ name: "eth0", mac, sandbox: a.path }] };
      for (const prevResult of [added, untold]) {
        const { error, message } = await on.call("CHECK", a, { ...conf, prevResult });
        expect([error, message]).toEqual([
          103,
          expect.stringContaining("MTU of eth0: want 1300, found 1280"),
        ]);
      }
    });

    test("finds its master in the container if it is there, and works without addresses", async () => {
      await using on = await lan(heddle);
      const a = await on.container();
      await a.exec(["ip", "link", "add", "in0", "type", "veth"]);
      for (const end of ["veth0", "in0"]) await a.exec(["ip", "link", "set", end, "up"]);
      const conf = vlan(on, { master: "in0", linkInContainer: true, ipam: {} });
      const added = await on.add(a, conf);
      expect(await on.link(a.path, "eth0")).toMatchObject({ link: "in0" });
      expect((await on.call("CHECK", a, { ...conf, prevResult: added })).message).toBe("");
      expect((await on.call("DEL", a, conf)).message).toBe("");
    });

    test("of another number than the configuration's is found by CHECK", async () => {
      await using on = await lan(heddle);
      const a = await on.container();
      const added = await on.add(a, vlan(on));
      const other = await on.call("CHECK", a, { ...vlan(on, { vlanId: 101 }), prevResult: added });
      expect([other.error, other.message]).toEqual([103, expect.stringContaining("id 100")]);
    });

    test("that another container has is refused with its name", async () => {
      await using on = await lan(heddle);
      const [a, b] = [await on.container(), await on.container()];
      await on.add(a, vlan(on));
      await on.add(b, vlan(on, { vlanId: 101 }));
      await on.call("DEL", b, vlan(on, { vlanId: 101 }));
      const before = await on.snapshot(a, b);
      const refused = await on.call("ADD", b, vlan(on));
      expect([refused.error, refused.message]).toEqual([
        104,
        expect.stringContaining(`vlan of container ${a.name} (eth0, network net)`),
      ]);
      expect(await on.snapshot(a, b)).toEqual(before);
    });

    test("goes with its master, and DEL then still gives the address back", async () => {
      await using on = await lan(heddle);
      const a = await on.container();
      const before = (await on.snapshot(a)).filter((line) => !line.includes("up0"));
      await on.add(a, vlan(on));
      await on.host.exec(["ip", "link", "delete", "up0"]);
      expect((await on.call("DEL", a, vlan(on))).message).toBe("");
      expect(await on.snapshot(a)).toEqual(before);
    });
  });
});
