/**
 * One directory, two programs: the reference's `host-local` and ours take turns, race, and clean up after each
 * other. Needs the reference's executable, and skips without it.
 */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { peerDir } from "../../../../scripts/peer.ts";
import { errorText } from "../../../cni/errors.ts";
import type { AttachmentKey } from "../../../cni/plugin.ts";
import { emptyResult } from "../../../cni/result.ts";
import { parsePrefix } from "../../../net/ip.ts";
import { addresses, type DataDir, dyingAt, failure, key, makeDataDir, verbs } from "../../../testing/ipam.ts";
import { realFiles } from "./files.ts";
import { hostLocal, makeHostLocal } from "./plugin.ts";

const found = await peerDir().then(
  (dir) => ({ program: join(dir, "host-local"), why: "" }),
  (e: unknown) => ({ program: "", why: errorText(e) }),
);
const peer = found.program;
const present = found.why === "" && existsSync(peer);
if (!present) console.warn(`skipped: the reference's host-local is not here: ${found.why || peer}`);

const environment = (command: string, k: AttachmentKey): Record<string, string> => ({
  CNI_COMMAND: command,
  CNI_CONTAINERID: k.containerId,
  CNI_IFNAME: k.ifname,
  CNI_NETNS: "/proc/self/ns/net",
  CNI_NETNS_OVERRIDE: "1",
  CNI_PATH: "/nonexistent",
});

/** The reference's verbs for the same configuration; an error is its message. */
function reference(ipam: unknown) {
  const conf = (more: object) =>
    JSON.stringify({ cniVersion: "1.0.0", name: "net", type: "bridge", ipam, ...more });
  const run = (command: string, k: AttachmentKey, more: object = {}): string => {
    const r = Bun.spawnSync([peer], { env: environment(command, k), stdin: Buffer.from(conf(more)) });
    const out = r.stdout.toString();
    if (r.exitCode !== 0) throw new Error(`reference ${command}: ${out}`);
    return out;
  };
  return {
    add: (k: AttachmentKey): string[] => {
      const result: { ips: { address: string }[] } = JSON.parse(run("ADD", k));
      return result.ips.map((i) => i.address);
    },
    del: (k: AttachmentKey): void => void run("DEL", k),
    check: (k: AttachmentKey, prevResult: object): void => void run("CHECK", k, { prevResult }),
  };
}

const both = (data: DataDir, ranges: unknown) => {
  const ipam = { type: "host-local", dataDir: data.path, ranges };
  return { ipam, ours: verbs(hostLocal, ipam), theirs: reference(ipam) };
};

/** The same sequence of numbers below 2^31 for the same seed. */
function random(seed: number): (below: number) => number {
  let x = seed;
  return (below) => {
    x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff;
    return x % below;
  };
}

describe.skipIf(!present)("beside the reference", () => {
  test("2,000 alternating operations give no duplicate and lose nothing", async () => {
    using data = makeDataDir();
    const { ours, theirs } = both(data, [[{ subnet: "10.1.0.0/24" }], [{ subnet: "fd00::/64" }]]);
    const next = random(2);
    const held = new Map<string, string[]>();
    for (let i = 0; i < 2000; i++) {
      // Two turns each, so that ours meets a directory as it left it as well as a changed one.
      const mine = i % 4 < 2;
      const some = [...held.keys()];
      const victim = some[next(some.length || 1)];
      if (victim !== undefined && (next(5) < 2 || some.length > 100)) {
        if (mine) await ours.del(key(victim));
        else theirs.del(key(victim));
        held.delete(victim);
      } else {
        const got = mine ? addresses(await ours.add(key(`c${i}`))) : theirs.add(key(`c${i}`));
        expect(got).toHaveLength(2);
        held.set(`c${i}`, got);
      }
      if (i % 50 === 0 || i === 1999) {
        const wanted = [...held].flatMap(([id, ips]) => ips.map((ip) => [ip.split("/")[0], `${id}\r\neth0`]));
        expect(data.reservations()).toEqual(Object.fromEntries(wanted));
      }
    }
    for (const id of held.keys()) await ours.del(key(id));
    expect(data.names()).toEqual(["last_reserved_ip.0", "last_reserved_ip.1", "lock"]);
  }, 60_000);

  test("the index notices every operation of the reference, at once", async () => {
    using data = makeDataDir();
    const { ours, theirs } = both(data, [[{ subnet: "10.1.0.0/24" }]]);
    for (let i = 0; i < 30; i++) {
      await ours.add(key(`ours${i}`));
      theirs.add(key(`theirs${i}`));
      await ours.del(key(`theirs${i}`));
      theirs.del(key(`ours${i}`));
      await ours.del(key(`ours${i}`));
      expect(data.reservations()).toEqual({});
    }
  });

  test("both go on from the other's last address", async () => {
    using data = makeDataDir();
    const { ours, theirs } = both(data, [[{ subnet: "10.1.0.0/24" }]]);
    expect(addresses(await ours.add(key("a")))).toEqual(["10.1.0.2/24"]);
    expect(theirs.add(key("b"))).toEqual(["10.1.0.3/24"]);
    expect(addresses(await ours.add(key("c")))).toEqual(["10.1.0.4/24"]);
    expect(theirs.add(key("d"))).toEqual(["10.1.0.5/24"]);
  });

  test("each refuses a second address to an attachment of the other", async () => {
    using data = makeDataDir();
    const { ours, theirs } = both(data, [[{ subnet: "10.1.0.0/24" }]]);
    await ours.add(key("a"));
    theirs.add(key("b"));
    expect(() => theirs.add(key("a"))).toThrow("duplicate allocation");
    expect(await failure(ours.add(key("b")))).toMatchObject({ code: "ipam/taken" });
  });

  test("each checks what the other has reserved", async () => {
    using data = makeDataDir();
    const { ours, theirs } = both(data, [[{ subnet: "10.1.0.0/24" }]]);
    await ours.add(key("a"));
    theirs.check(key("a"), { cniVersion: "1.0.0", ips: [{ address: "10.1.0.2/24" }] });
    const [text = ""] = theirs.add(key("b"));
    const address = parsePrefix(text);
    if (!address.ok) throw new Error(address.why);
    await ours.check(key("b"), { ...emptyResult, ips: [{ address: address.value }] });
    theirs.del(key("b"));
    const gone = ours.check(key("b"), { ...emptyResult, ips: [{ address: address.value }] });
    expect(await failure(gone)).toMatchObject({ code: "check/differs" });
  });

  test("the reference frees what we left at any change of a killed ADD", async () => {
    for (let n = 1; ; n++) {
      using data = makeDataDir();
      const { ipam, ours, theirs } = both(data, [[{ subnet: "10.1.0.0/24" }]]);
      await ours.add(key("other"));
      const stopping = dyingAt(realFiles, n, "after");
      const ended = await verbs(makeHostLocal(stopping.files), ipam)
        .add(key("a"))
        .then(
          () => true,
          () => false,
        );
      if (ended) {
        expect(n).toBeGreaterThan(5);
        break;
      }
      theirs.del(key("a"));
      expect(data.reservations()).toEqual({ "10.1.0.2": "other\r\neth0" });
      expect(theirs.add(key("a"))).toHaveLength(1);
    }
  });

  test("racing for one lock, they share a range without a duplicate", async () => {
    using data = makeDataDir();
    const { ipam, ours } = both(data, [[{ subnet: "10.1.0.0/24" }]]);
    const stdin = Buffer.from(JSON.stringify({ cniVersion: "1.0.0", name: "net", type: "bridge", ipam }));
    const racing = Array.from({ length: 20 }, (_, i) =>
      Bun.spawn([peer], { env: environment("ADD", key(`theirs${i}`)), stdin, stdout: "ignore" }),
    );
    for (let i = 0; i < 60; i++) {
      await ours.add(key(`ours${i}`));
      if (i % 3 === 0) await ours.del(key(`ours${i}`));
      // Lets the reference's exits be noticed; the race is between processes and needs no pause.
      await Promise.resolve();
    }
    expect(await Promise.all(racing.map((p) => p.exited))).toEqual(Array.from({ length: 20 }, () => 0));
    const owners = Object.values(data.reservations());
    expect(owners).toHaveLength(60);
    expect(new Set(owners).size).toBe(60);
  });
});
