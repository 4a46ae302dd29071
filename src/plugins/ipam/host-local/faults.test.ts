import { describe, expect, test } from "bun:test";
import { isNetError } from "../../../errors.ts";
import {
  addresses,
  dyingAt,
  failingAt,
  failure,
  Killed,
  key,
  makeDataDir,
  verbs,
} from "../../../testing/ipam.ts";
import { realFiles } from "./files.ts";
import { hostLocal, makeHostLocal } from "./plugin.ts";

const other = key("other");
const ours = key("ours");
const clean = ["10.1.2.2", "fd00::2", "last_reserved_ip.0", "last_reserved_ip.1", "lock"];

function dualStack(dataDir: string) {
  return { type: "host-local", dataDir, ranges: [[{ subnet: "10.1.2.0/24" }], [{ subnet: "fd00::/64" }]] };
}

/** How many changes a verb makes, counted on a run that nothing stops. */
async function countChanges(verb: "add" | "del"): Promise<number> {
  using data = makeDataDir();
  const ipam = dualStack(data.path);
  const real = verbs(hostLocal, ipam);
  await real.add(other);
  if (verb === "del") await real.add(ours);
  const watched = dyingAt(realFiles, Number.POSITIVE_INFINITY, "before");
  await verbs(makeHostLocal(watched.files), ipam)[verb](ours);
  return watched.count();
}

const changes = { add: await countChanges("add"), del: await countChanges("del") };
const points = (verb: "add" | "del") =>
  Array.from({ length: changes[verb] }, (_, i) => i + 1).flatMap((n) =>
    (["before", "after"] as const).map((when) => [when, n] as const),
  );

test("the loops below meet every change", () => {
  // ADD: for each of two sets draft, link, removal of the draft and the last address; then mark and index.
  expect(changes.add).toBe(10);
  expect(changes.del).toBe(4);
});

describe("a process that dies in ADD", () => {
  const kill = async (when: "before" | "after", n: number) => {
    const data = makeDataDir();
    const ipam = dualStack(data.path);
    const real = verbs(hostLocal, ipam);
    await real.add(other);
    const dying = verbs(makeHostLocal(dyingAt(realFiles, n, when).files), ipam);
    expect(await failure(dying.add(ours))).toBeInstanceOf(Killed);
    for (const content of Object.values(data.reservations()))
      expect(["other\r\neth0", "ours\r\neth0"]).toContain(content);
    return { data, real };
  };

  test.each(points("add"))("%s change %d leaves nothing after DEL", async (when, n) => {
    const { data, real } = await kill(when, n);
    using _ = data;
    await real.del(ours);
    expect(data.names()).toEqual(clean);
    expect(addresses(await real.add(key("third")))).toHaveLength(2);
  });

  test.each(points("add"))(
    "%s change %d lets ADD succeed or say what is taken, then DEL",
    async (when, n) => {
      const { data, real } = await kill(when, n);
      using _ = data;
      const second = await real.add(ours).catch((e: unknown) => e);
      if (second instanceof Error) expect(isNetError(second, "ipam/taken")).toBe(true);
      expect(data.reservations()["10.1.2.2"]).toBe("other\r\neth0");
      expect(data.names()).not.toContain(".heddle-draft");
      await real.del(ours);
      expect(data.names()).toEqual(clean);
    },
  );

  test.each(points("add"))("%s change %d leaves nothing after GC", async (when, n) => {
    const { data, real } = await kill(when, n);
    using _ = data;
    await real.gc([other]);
    expect(data.names()).toEqual(clean);
  });
});

test.each(points("del"))(
  "a process that dies in DEL %s change %d is finished by the next DEL",
  async (when, n) => {
    using data = makeDataDir();
    const ipam = dualStack(data.path);
    const real = verbs(hostLocal, ipam);
    await real.add(other);
    await real.add(ours);
    const dying = verbs(makeHostLocal(dyingAt(realFiles, n, when).files), ipam);
    expect(await failure(dying.del(ours))).toBeInstanceOf(Killed);
    await real.del(ours);
    expect(data.names()).toEqual(clean);
    await real.add(ours);
    expect(data.reservations()).toEqual({
      "10.1.2.2": "other\r\neth0",
      "10.1.2.4": "ours\r\neth0",
      "fd00::2": "other\r\neth0",
      "fd00::4": "ours\r\neth0",
    });
  },
);

test.each(Array.from({ length: changes.add }, (_, i) => i + 1))(
  "ADD whose change %d fails takes everything back, or succeeds if only the index is concerned",
  async (n) => {
    using data = makeDataDir();
    const ipam = dualStack(data.path);
    const real = verbs(hostLocal, ipam);
    await real.add(other);
    const failing = verbs(makeHostLocal(failingAt(realFiles, n).files), ipam);
    const got = await failing.add(ours).catch((e: unknown) => e);
    if (got instanceof Error) {
      expect(isNetError(got, "sys/call")).toBe(true);
      expect(Object.values(data.reservations())).not.toContain("ours\r\neth0");
      expect(data.names()).not.toContain(".heddle-draft");
      expect(n).toBeLessThanOrEqual(8);
    } else expect(n).toBeGreaterThan(8);
    await real.del(ours);
    expect(data.names()).toEqual(clean);
  },
);

test.each(Array.from({ length: changes.del }, (_, i) => i + 1))(
  "DEL whose change %d fails can be repeated",
  async (n) => {
    using data = makeDataDir();
    const ipam = dualStack(data.path);
    const real = verbs(hostLocal, ipam);
    await real.add(other);
    await real.add(ours);
    const got = await verbs(makeHostLocal(failingAt(realFiles, n).files), ipam)
      .del(ours)
      .catch((e: unknown) => e);
    if (got !== undefined) expect(isNetError(got, "sys/call")).toBe(true);
    await real.del(ours);
    expect(data.names()).toEqual(clean);
  },
);

test("a draft that is a second name of a live reservation is removed without harm to it", async () => {
  using data = makeDataDir();
  const real = verbs(hostLocal, dualStack(data.path));
  await real.add(other);
  realFiles.link(`${data.path}/net/10.1.2.2`, `${data.path}/net/.heddle-draft`);
  await real.add(ours);
  expect(data.reservations()["10.1.2.2"]).toBe("other\r\neth0");
  expect(data.names()).not.toContain(".heddle-draft");
});
