/** `macvtap` on a real kernel, by the built executable: its device, by which a program speaks on the network. */
import { describe, expect } from "bun:test";
import { existsSync, statSync } from "node:fs";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { lan } from "../../src/testing/lan.ts";
import { testWith } from "../../src/testing/needs.ts";

const kernel = testWith({ root: true, programs: ["ip", "nft", "nsenter", "unshare", "setpriv"] });
const heddle = heddleOfFile();

type Json = Readonly<Record<string, unknown>>;
const macvtap = (more: Json = {}): Json => ({ type: "macvtap", master: "up0", ...more });
const deviceIn = (result: Json): string =>
  String((result["interfaces"] as readonly Json[] | undefined)?.[0]?.["socketPath"]);

describe("macvtap", () => {
  kernel("gives each container a device of its own, which goes with DEL", async () => {
    await using on = await lan(heddle);
    const [a, b] = [await on.container(), await on.container()];
    const before = await on.snapshot(a, b);
    const [ra, rb] = [await on.add(a, macvtap()), await on.add(b, macvtap())];
    expect(await on.link(a.path, "eth0")).toMatchObject({
      linkinfo: { info_kind: "macvtap", info_data: { mode: "bridge" } },
    });
    const devices = [deviceIn(ra), deviceIn(rb)];
    expect(new Set(devices).size).toBe(2);
    for (const path of devices) expect(statSync(path).isCharacterDevice()).toBe(true);
    expect((await on.call("CHECK", a, macvtap({ prevResult: ra }))).message).toBe("");
    for (const at of [a, b, b]) expect((await on.call("DEL", at, macvtap())).message).toBe("");
    expect(devices.map((path) => existsSync(path))).toEqual([false, false]);
    expect(await on.snapshot(a, b)).toEqual(before);
  });

  kernel("is a way onto the network for the program that opens it", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    const mac = "02:00:00:00:00:42";
    const path = deviceIn(await on.add(a, macvtap({ mac })));
    await on.machine.exec([
      "ip",
      "neigh",
      "replace",
      "10.95.0.77",
      "lladdr",
      mac,
      "dev",
      "lan",
      "nud",
      "stale",
    ]);
    // An ARP announcement of 10.95.0.78 by this address, behind the ten bytes of a virtio header.
    const frame =
      `ffffffffffff${mac.replaceAll(":", "")}08060001080006040001` +
      `${mac.replaceAll(":", "")}0a5f004e0000000000000a5f004e`;
    await on.machine.exec(["sysctl", "-qw", "net.ipv4.conf.lan.arp_accept=1"]);
    const program = `const fs = require("node:fs"); const fd = fs.openSync(process.argv[1], "r+");
      fs.writeSync(fd, Buffer.concat([Buffer.alloc(10), Buffer.from(process.argv[2], "hex")]));`;
    await on.host.exec([process.execPath, "-e", program, path, frame]);
    const known = async () => (await on.machine.exec(["ip", "neigh", "show", "10.95.0.78"])).stdout;
    for (const deadline = performance.now() + 5_000; !(await known()).includes(mac);)
      if (performance.now() > deadline) throw new Error(`the frame did not arrive: ${await known()}`);
  });

  kernel("gives the device to a user and a group", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    const conf = macvtap({ owner: 1234, group: 107 });
    const added = await on.add(a, conf);
    const { uid, gid, mode } = statSync(deviceIn(added));
    expect([uid, gid, mode & 0o777]).toEqual([1234, 107, 0o660]);
    expect((await on.call("CHECK", a, { ...conf, prevResult: added })).message).toBe("");
    const other = await on.call("CHECK", a, { ...conf, owner: 7, prevResult: added });
    expect([other.error, other.message]).toEqual([103, expect.stringContaining("user of")]);
  });

  kernel("finds its master in the container if it is there", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    await a.exec(["ip", "link", "add", "in0", "type", "veth", "peer", "name", "in1"]);
    await a.exec(["ip", "link", "set", "in0", "up"]);
    const before = await on.snapshot(a);
    const conf = macvtap({ master: "in0", linkInContainer: true });
    expect((await on.call("ADD", a, { ...conf, linkInContainer: false })).error).toBe(7);
    const added = await on.add(a, conf);
    expect(await on.link(a.path, "eth0")).toMatchObject({ link: "in0", linkinfo: { info_kind: "macvtap" } });
    expect(statSync(deviceIn(added)).isCharacterDevice()).toBe(true);
    expect((await on.call("CHECK", a, { ...conf, prevResult: added })).message).toBe("");
    expect((await on.call("DEL", a, conf)).message).toBe("");
    expect(await on.snapshot(a)).toEqual(before);
  });

  kernel("loses its device with the container", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    const device = deviceIn(await on.add(a, macvtap()));
    await on.host.exec(["ip", "netns", "delete", a.name]);
    for (const deadline = performance.now() + 5_000; existsSync(device);)
      if (performance.now() > deadline) throw new Error(`${device} is still there`);
    expect((await on.call("DEL", a, macvtap())).message).toBe("");
  });
});
