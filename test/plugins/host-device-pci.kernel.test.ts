/**
 * `host-device` with network cards on a PCI bus, which the kernel returns to the host when a namespace ends. That host is
 * the machine itself, so that the plugin is called there.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { heddleOfFile, runPlugin } from "../../src/testing/executable.ts";
import { onKernelWith } from "../../src/testing/needs.ts";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import { run } from "../../src/testing/run.ts";
import { SPARE_NICS, takeSpareNics } from "../../src/testing/spare-nics.ts";
import { tempDir, type TempDir } from "../../src/testing/temp-dir.ts";
import { seenFrom } from "../../src/testing/traffic.ts";

type Json = Readonly<Record<string, unknown>>;
const [MAC] = SPARE_NICS;
const LOOK_MS = 50;

/** Waits until the kernel has returned the card, under whatever name. */
async function returned(): Promise<void> {
  for (;;) {
    const { stdout } = await run(["ip", "-json", "link", "show"]);
    if ((JSON.parse(stdout) as LinkJson[]).some((l) => l.address === MAC)) return;
    await Bun.sleep(LOOK_MS);
  }
}
/** The PCI device of a card of virtio. */
const pciOf = (name: string): string => basename(dirname(realpathSync(`/sys/class/net/${name}/device`)));

interface LinkJson {
  readonly ifname: string;
  readonly address: string;
  readonly flags: readonly string[];
  readonly ifalias?: string;
  readonly altnames?: readonly string[];
}
async function linkHere(name: string): Promise<LinkJson> {
  const { stdout } = await run(["ip", "-json", "-details", "link", "show", name]);
  return (JSON.parse(stdout) as LinkJson[])[0] as LinkJson;
}
/** What has to be as before. */
async function stateOf(name: string): Promise<Json> {
  const { ifname, flags, ifalias, altnames = [] } = await linkHere(name);
  const own = altnames.filter((n) => n.includes("heddle"));
  return { ifname, up: flags.includes("UP"), ifalias, own };
}

onKernelWith(["spare nics"], () => {
  const heddle = heddleOfFile();
  let dir: TempDir;
  beforeAll(() => void (dir = tempDir("pci")));
  afterAll(() => dir[Symbol.dispose]());

  const ipam = (): Json => ({
    type: "host-local",
    dataDir: dir.in("ipam"),
    ranges: [[{ subnet: "192.0.2.0/24" }]],
  });
  async function call(command: "ADD" | "CHECK" | "DEL" | "GC", at: TestNetns, conf: Json): Promise<Json> {
    const key = { containerId: at.name, netns: at.path, ifname: "eth0" };
    const call = { command, cniPath: heddle.cniPath, env: { HEDDLE_RUN_DIR: dir.in("run") } };
    const { code, json, stdout, stderr } = await runPlugin(
      heddle.at("host-device"),
      command === "GC" ? call : { ...call, ...key },
      { cniVersion: "1.1.0", name: "cards", type: "host-device", ipam: ipam(), ...conf },
    );
    return code === 0 ? ((json ?? {}) as Json) : { ...(json as Json), failed: stdout + stderr };
  }
  async function must(command: "ADD" | "CHECK" | "DEL" | "GC", at: TestNetns, conf: Json): Promise<Json> {
    const reply = await call(command, at, conf);
    if ("failed" in reply) throw new Error(`${command}: ${String(reply["failed"])}`);
    return reply;
  }
  const reserved = (): readonly string[] => readdirSync(dir.in("ipam/cards")).filter((n) => /^\d/.test(n));

  describe("a card on a PCI bus", () => {
    test("is found by its address and by the runtime's device ID, works, and comes back", async () => {
      using cards = await takeSpareNics();
      const [name, second] = cards.names;
      await using a = await testNetns();
      await using wire = await testNetns();
      const pci = pciOf(name);
      await run(["ip", "link", "set", second, "netns", wire.name, "name", "wire0"]);
      await wire.exec(["ip", "address", "add", "192.0.2.200/24", "dev", "wire0"]);
      await wire.exec(["ip", "link", "set", "wire0", "up"]);
      await run(["ip", "link", "set", name, "up"]);
      const before = await stateOf(name);
      for (const named of [{ pciBusID: pci }, { runtimeConfig: { deviceID: pci } }, { device: name }]) {
        const prevResult = await must("ADD", a, named);
        expect(prevResult["interfaces"]).toEqual([
          { name: "eth0", mac: MAC, mtu: 1500, sandbox: a.path, pciID: pci },
        ]);
        const [address] = String((prevResult["ips"] as readonly Json[])[0]?.["address"]).split("/");
        expect(await seenFrom(a.path, wire.path, "192.0.2.200", 80)).toBe(address);
        await must("CHECK", a, { ...named, prevResult });
        await must("DEL", a, { ...named, prevResult });
        expect(await stateOf(name)).toEqual(before);
      }
      // A path of its directory in the kernel's tree of devices.
      const kernelpath = dirname(dirname(realpathSync(`/sys/class/net/${name}`)));
      await must("ADD", a, { kernelpath });
      await must("DEL", a, { kernelpath });
      expect(await stateOf(name)).toEqual(before);
    });

    test.each([["DEL"], ["DEL without a record"], ["GC"], ["GC without a record"]])(
      "gets its name back when its namespace ended before, by %s",
      async (how) => {
        using cards = await takeSpareNics();
        const [name] = cards.names;
        const a = await testNetns();
        const before = await stateOf(name);
        await must("ADD", a, { device: name });
        await a[Symbol.asyncDispose]();
        if (how.endsWith("record")) {
          // The kernel needs its time; DEL and GC with a record wait for it.
          await returned();
          rmSync(dir.in("run"), { recursive: true });
        }
        if (how.startsWith("DEL")) await must("DEL", a, { device: name });
        else await must("GC", a, { device: name, "cni.dev/valid-attachments": [] });
        // Without a record nobody knows whether it was up.
        const up = how.endsWith("record") ? { up: false } : {};
        expect(await stateOf(name)).toEqual({ ...before, ...up });
        if (before["up"] === true) await run(["ip", "link", "set", name, "up"]);
      },
    );

    test("keeps its name when another container gets it before the dead one's DEL", async () => {
      using cards = await takeSpareNics();
      const [name] = cards.names;
      const pci = pciOf(name);
      const a = await testNetns();
      await using b = await testNetns();
      const before = await stateOf(name);
      await must("ADD", a, { pciBusID: pci });
      await a[Symbol.asyncDispose]();
      await returned();
      const prevResult = await must("ADD", b, { pciBusID: pci });
      await must("DEL", b, { pciBusID: pci, prevResult });
      expect(await stateOf(name)).toEqual(before);
      await must("DEL", a, { pciBusID: pci });
      expect(await stateOf(name)).toEqual(before);
    });

    test("that a program drives is left alone, and its address is given all the same", async () => {
      using cards = await takeSpareNics();
      await using a = await testNetns();
      const pci = pciOf(cards.names[0]);
      const device = `/sys/bus/pci/devices/${pci}`;
      const drive = (driver: string): void => {
        if (existsSync(`${device}/driver`)) writeFileSync(`${device}/driver/unbind`, pci);
        writeFileSync(`${device}/driver_override`, `${driver}\n`);
        if (driver !== "none") writeFileSync("/sys/bus/pci/drivers_probe", pci);
      };
      await run([readFileSync("/proc/sys/kernel/modprobe", "utf8").trim(), "uio_pci_generic"]);
      try {
        drive("uio_pci_generic");
        expect(basename(realpathSync(`${device}/driver`))).toBe("uio_pci_generic");
        const prevResult = await must("ADD", a, { pciBusID: pci });
        expect(prevResult["interfaces"] ?? []).toEqual([]);
        expect((prevResult["ips"] as readonly Json[])[0]?.["address"]).toStartWith("192.0.2.");
        expect((await a.exec(["ip", "-oneline", "link"])).stdout.trim().split("\n")).toHaveLength(1);
        await must("CHECK", a, { pciBusID: pci, prevResult });
        await must("DEL", a, { pciBusID: pci, prevResult });
        expect(reserved()).toEqual([]);
        drive("none");
        expect(await call("ADD", a, { pciBusID: pci })).toMatchObject({
          code: 7,
          msg: expect.stringContaining("its driver is none") as string,
        });
      } finally {
        drive("virtio-pci");
        await returned();
      }
    });
  });
});
