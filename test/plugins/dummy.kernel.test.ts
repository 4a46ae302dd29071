/** `dummy` on a real kernel, by the built executable. */
import { expect, test } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { lan } from "../../src/testing/lan.ts";
import { onKernelWith } from "../../src/testing/needs.ts";
import { seenFrom } from "../../src/testing/traffic.ts";

const heddle = heddleOfFile();

onKernelWith(["dummy"], () => {
  test("dummy gives the container its addresses at once, and takes all of it back", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    const before = await on.snapshot(a);
    // A link of that name in the host is no concern of the container's.
    await on.host.exec(["ip", "link", "add", "eth0", "type", "dummy"]);
    const conf = { type: "dummy", ipam: on.ipam([4, 6]), runtimeConfig: { mac: "02:00:00:00:00:42" } };
    const added = await on.add(a, conf);
    expect(added).toMatchObject({
      interfaces: [{ name: "eth0", mac: "02:00:00:00:00:42", mtu: 1500, sandbox: a.path }],
      ips: [
        { interface: 0, address: "10.95.0.16/24" },
        { interface: 0, address: "fd95::16/64" },
      ],
    });
    expect(await on.link(a.path, "eth0")).toMatchObject({
      address: "02:00:00:00:00:42",
      linkinfo: { info_kind: "dummy" },
    });
    for (const address of ["10.95.0.16", "fd95::16"])
      expect(await seenFrom(a.path, a.path, address, 80)).toBe(address);
    expect((await on.call("CHECK", a, { ...conf, prevResult: added })).message).toBe("");
    await a.exec(["ip", "link", "set", "eth0", "down"]);
    expect((await on.call("CHECK", a, { ...conf, prevResult: added })).error).toBe(103);
    await on.host.exec(["ip", "link", "delete", "eth0"]);
    for (const _ of [1, 2]) expect((await on.call("DEL", a, conf)).message).toBe("");
    expect(await on.snapshot(a)).toEqual(before);
  });

  test("dummy leaves nothing when IPAM fails", async () => {
    await using on = await lan(heddle);
    const a = await on.container();
    const before = await on.snapshot(a);
    const ranges = [[{ subnet: "10.95.0.0/32" }]];
    const refused = await on.call("ADD", a, { type: "dummy", ipam: { ...(on.ipam() as object), ranges } });
    expect(refused.code).not.toBe(0);
    expect(await on.snapshot(a)).toEqual(before);
    expect(await on.call("ADD", a, { type: "dummy" })).toMatchObject({ error: 7 });
  });
});
