import { describe, expect } from "bun:test";
import { kernelTest } from "../../testing/needs.ts";
import { MARK, type Stage, stage } from "../../testing/netstate-stage.ts";
import { fresh } from "../../testing/plan.ts";
import type { NetObject, Of } from "../model.ts";

const macvlan: Of<"link"> = {
  kind: "link",
  possession: "exclusive",
  place: "container",
  name: "eth0",
  type: { kind: "macvlan", mode: "bridge" },
  lower: { place: "host", name: "up0" },
  mac: fresh.containerMac,
  mtuBytes: 1400,
};
const shaper: Of<"link"> = {
  kind: "link",
  possession: "exclusive",
  place: "host",
  name: "bwp0123456789ab",
  type: { kind: "ifb" },
  txQueueLength: 0,
};
const shim: Of<"link"> = { ...macvlan, possession: "shared", place: "host", name: "shim0" };

async function withUplink(): Promise<Stage> {
  const on = await stage();
  await on.host.exec(["ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
  return on;
}

async function shown(on: Stage, where: "host" | "container", link: string): Promise<Record<string, unknown>> {
  const { stdout } = await on[where].exec(["ip", "-json", "-details", "link", "show", link]);
  return (JSON.parse(stdout) as Record<string, unknown>[])[0] ?? {};
}

const failureOf = async (on: Stage, verb: "apply" | "verify", object: NetObject): Promise<string> => {
  const { failure } = await on.do(verb, [object]);
  return failure === undefined ? "none" : `${failure.code}: ${failure.message}`;
};

describe("a link of one end", () => {
  kernelTest("is made in the container with its name, address, size and mark", async () => {
    await using on = await withUplink();
    const before = await on.lines();
    expect(await failureOf(on, "apply", macvlan)).toBe("none");
    expect(await shown(on, "container", "eth0")).toMatchObject({
      address: fresh.containerMac,
      mtu: 1400,
      altnames: [MARK],
      linkinfo: { info_kind: "macvlan", info_data: { mode: "bridge" } },
    });
    expect(await failureOf(on, "verify", macvlan)).toBe("none");
    await on.do("remove", [macvlan]);
    expect(await on.lines()).toEqual(before);
  });

  kernelTest("stands in the host when it belongs there", async () => {
    await using on = await withUplink();
    const before = await on.lines();
    expect(await failureOf(on, "apply", shaper)).toBe("none");
    const link = await shown(on, "host", shaper.name);
    expect(link).toMatchObject({ altnames: [MARK] });
    // The kernel's own would be 32; `ip` does not print a queue of none.
    expect(link).not.toHaveProperty("txqlen");
    await on.do("remove", [shaper]);
    expect(await on.lines()).toEqual(before);
  });

  kernelTest("leaves the interface alone whose name it wants", async () => {
    await using on = await withUplink();
    await on.container.exec(["ip", "link", "add", "eth0", "type", "veth"]);
    const before = await on.lines();
    expect(await failureOf(on, "apply", macvlan)).toStartWith("resource/exists");
    await on.do("remove", [macvlan]);
    expect(await on.lines()).toEqual(before);
  });

  kernelTest("is found different in another mode or with another address", async () => {
    await using on = await withUplink();
    await on.do("apply", [macvlan]);
    await on.container.exec(["ip", "link", "set", "eth0", "type", "macvlan", "mode", "vepa"]);
    expect(await failureOf(on, "verify", macvlan)).toContain("vepa");
    await on.container.exec(["ip", "link", "set", "eth0", "type", "macvlan", "mode", "bridge"]);
    await on.container.exec(["ip", "link", "set", "eth0", "address", "02:00:00:00:00:77"]);
    expect(await failureOf(on, "verify", macvlan)).toContain("02:00:00:00:00:77");
  });

  kernelTest("that is shared is made once, and stays", async () => {
    await using on = await withUplink();
    for (const _ of [1, 2]) expect(await failureOf(on, "apply", shim)).toBe("none");
    expect(await shown(on, "host", "shim0")).toMatchObject({
      flags: expect.arrayContaining(["UP"]) as unknown,
    });
    await on.do("remove", [shim]);
    expect(await shown(on, "host", "shim0")).toMatchObject({ ifname: "shim0" });
    const other: NetObject = { ...shim, type: { kind: "macvlan", mode: "private" } };
    expect(await failureOf(on, "apply", other)).toContain("mode bridge");
  });
});
