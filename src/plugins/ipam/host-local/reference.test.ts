/**
 * One directory, two programs: the reference's `host-local` and ours take turns, race, and clean up after each
 * other. Needs the reference's executable, and skips without it.
 */
import { describe, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AttachmentKey } from "../../../cni/plugin.ts";
import { serve } from "../../../cni/serve.ts";
import { versions } from "../../../cni/version.ts";
import { emptyResult } from "../../../cni/result.ts";
import { parsePrefix } from "../../../net/ip.ts";
import { addresses, type DataDir, dyingAt, failure, key, makeDataDir, verbs } from "../../../testing/ipam.ts";
import { callEnv, peerProgram, runPeer } from "../../../testing/peer.ts";
import { realFiles } from "./files.ts";
import { hostLocal, makeHostLocal } from "./plugin.ts";

const peer = (await peerProgram("host-local")) ?? "";

/** The reference's verbs for the same configuration; a failure throws what it printed. */
function reference(ipam: unknown) {
  const run = (command: string, k: AttachmentKey, more: object = {}): string => {
    const conf = { cniVersion: "1.0.0", name: "net", type: "bridge", ipam, ...more };
    const { code, stdout } = runPeer(peer, callEnv(command, k), conf);
    if (code !== 0) throw new Error(`reference ${command}: ${stdout}`);
    return stdout;
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

describe.skipIf(peer === "")("beside the reference", () => {
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

  test.each(versions)("both print the same result for version %s", async (cniVersion) => {
    using data = makeDataDir();
    const resolvConf = join(data.path, "resolv.conf");
    writeFileSync(resolvConf, "nameserver 192.0.2.3\ndomain a.test\nsearch a.test b.test\noptions ndots:2\n");
    const routes = [{ dst: "0.0.0.0/0" }, { dst: "fd00:1::/64", gw: "fd00::9" }];
    const ranges = [[{ subnet: "10.1.0.0/24", gateway: "10.1.0.254" }], [{ subnet: "fd00::/64" }]];
    const ipam = { type: "host-local", dataDir: data.path, ranges, routes, resolvConf };
    const conf = { cniVersion, name: "net", type: "bridge", ipam };
    const env = { ...callEnv("ADD", key("a")), CNI_ARGS: "IgnoreUnknown=1;IP=10.1.0.7" };
    const theirs = runPeer(peer, env, conf);
    expect(theirs.code).toBe(0);
    const del = { ...env, CNI_COMMAND: "DEL" };
    expect(await serve(hostLocal, { env: del, stdin: JSON.stringify(conf) })).toMatchObject({ code: 0 });
    rmSync(join(data.path, "net"), { recursive: true });
    const ours = await serve(hostLocal, { env, stdin: JSON.stringify(conf) });
    expect(JSON.parse(ours.stdout)).toEqual(JSON.parse(theirs.stdout));
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
      Bun.spawn([peer], { env: callEnv("ADD", key(`theirs${i}`)), stdin, stdout: "ignore" }),
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
