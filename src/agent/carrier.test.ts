import { expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { failureOf } from "../errors.ts";
import { ip } from "../testing/address.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { openCarrier } from "./carrier.ts";
import type { CarriedPeer, CarrierWish } from "./model.ts";

/** MTUs by which the program below does as it should not. */
const FAULTY = { noDevice: 1, silent: 2, endsWhenSpokenTo: 3, refusesOnce: 4 } as const;

/** Answers as a forwarder does, and writes down what it was asked. A second one takes the socket's place. */
const FAKE = `
  import { appendFileSync, existsSync, rmSync } from "node:fs";
  const argv = process.argv.slice(2);
  const control = argv[argv.indexOf("--control") + 1];
  const mtu = Number(argv[argv.indexOf("--mtu") + 1]);
  const note = (line) => appendFileSync(control.replace("sock", "notes"), line + "\\n");
  const isFirst = !existsSync(control.replace("sock", "notes"));
  if (mtu === ${FAULTY.silent}) { note("start " + process.pid); await new Promise((resolve) => setTimeout(resolve, 60_000)); }
  if (mtu === ${FAULTY.noDevice}) { console.log("no such device"); console.log("  hint: make it"); process.exit(1); }
  note("start " + process.pid + " " + argv.slice(0, 6).join(" "));
  rmSync(control, { force: true });
  let asked = 0;
  Bun.listen({ unix: control, socket: { open() {
    if (mtu === ${FAULTY.endsWhenSpokenTo} && isFirst) process.exit(0);
  }, data(socket, bytes) {
    const { command, peers, peer, id } = JSON.parse(bytes.toString());
    if (mtu === ${FAULTY.refusesOnce} && ++asked === 1)
      return socket.write(JSON.stringify({ ok: false, code: "try-again", error: "not now" }) + "\\n");
    if (command === "status") return socket.write(JSON.stringify({ ok: true, pid: process.pid }) + "\\n");
    note([command, peers?.length ?? peer?.id ?? id ?? ""].join(" ").trim());
    socket.write(JSON.stringify({ ok: true }) + "\\n");
    if (command === "remove") { rmSync(control, { force: true }); process.exit(0); }
  } } });
  console.log("forwards between " + control);`;

const peer = (n: number, address = `192.0.2.${n}`): CarriedPeer => ({
  id: `host${n}`,
  subnets: [`10.244.${n}.0/24`],
  address,
  port: 8285,
  heddle: true,
});
const wishOf = (peers: readonly CarriedPeer[], mtuBytes = 1472): CarrierWish => ({
  device: "flannel0",
  mtuBytes,
  listen: ip("0.0.0.0"),
  port: 8285,
  own: [ip("10.244.1.0")],
  peers,
});

function staged() {
  const stack = new DisposableStack();
  const dir = stack.use(tempDir("carrier"));
  writeFileSync(dir.in("fake.ts"), FAKE);
  const losses = { count: 0, next: Promise.withResolvers<void>() };
  const program = [process.execPath, dir.in("fake.ts")];
  const open = (startMs = 5_000, answerMs?: number) =>
    stack.use(
      openCarrier({
        startMs,
        ...(answerMs === undefined ? {} : { answerMs }),
        program,
        dir: dir.path,
        device: "flannel0",
        lost: () => {
          losses.count++;
          losses.next.resolve();
        },
      }),
    );
  const notes = (): readonly string[] =>
    readFileSync(dir.in("flannel0.notes"), "utf8")
      .split("\n")
      .filter((line) => line !== "");
  const pids = (): readonly number[] =>
    notes().flatMap((line) => (line.startsWith("start") ? [Number(line.split(" ")[1])] : []));
  stack.defer(() => {
    if (!existsSync(dir.in("flannel0.notes"))) return;
    for (const pid of pids())
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It has ended by itself.
      }
  });
  const [one, two, three] = [peer(2), peer(3), peer(4)];
  return {
    open,
    control: dir.in("flannel0.sock"),
    notes,
    pids,
    losses,
    peers: [one, two, three] as const,
    [Symbol.dispose]: () => stack.dispose(),
  };
}

/** One that has ended and that nobody has waited for yet does not run. */
const isRunning = (pid: number): boolean =>
  existsSync(`/proc/${pid}/stat`) && !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");

const withoutStarts = (notes: readonly string[]): readonly string[] =>
  notes.filter((line) => !line.startsWith("start"));

test("a carrier is started, told all of its peers, and then what changes", async () => {
  using s = staged();
  const carrier = s.open();
  const [one, two, three] = s.peers;
  await carrier.carry(wishOf([one, two]));
  await carrier.carry(wishOf([one, peer(3, "192.0.2.33"), three]));
  await carrier.carry(wishOf([one]));
  expect(s.pids()).toHaveLength(1);
  expect(s.notes()[0]).toEndWith("forwarder --take-over --device flannel0 --mtu 1472");
  expect(withoutStarts(s.notes())).toEqual([
    "replace-all 2",
    "set-peer host3",
    "set-peer host4",
    "remove-peer host3",
    "remove-peer host4",
  ]);
});

test("a carrier that died is missed, and started again with all of its peers", async () => {
  using s = staged();
  const carrier = s.open();
  const wish = wishOf(s.peers);
  await carrier.carry(wish);
  process.kill(s.pids()[0] ?? 0, "SIGKILL");
  await s.losses.next.promise;
  await carrier.carry(wish);
  expect(s.pids()).toHaveLength(2);
  expect(withoutStarts(s.notes())).toEqual(["replace-all 3", "replace-all 3"]);
});

test("a carrier of another MTU takes over, as one of another agent does, and nobody misses the one before", async () => {
  using s = staged();
  const carrier = s.open();
  await carrier.carry(wishOf(s.peers));
  await carrier.carry(wishOf(s.peers, 1400));
  carrier[Symbol.dispose]();
  await s.open().carry(wishOf(s.peers, 1400));
  expect(s.pids()).toHaveLength(3);
  expect(s.losses.count).toBe(0);
});

test("a carrier that nobody wants is ended, whoever started it", async () => {
  using s = staged();
  await s.open().carry(wishOf(s.peers));
  await s.open().carry(undefined);
  expect(s.notes().at(-1)).toBe("remove");
  await s.open().carry(undefined);
  expect(s.notes().at(-1)).toBe("remove");
});

test("a carrier that could not be told its peers is told all of them again, and not only what changes", async () => {
  using s = staged();
  const carrier = s.open();
  expect(await failureOf(() => carrier.carry(wishOf(s.peers, FAULTY.refusesOnce)))).toHaveProperty(
    "message",
    "not now",
  );
  await carrier.carry(wishOf(s.peers, FAULTY.refusesOnce));
  await carrier.carry(wishOf([], FAULTY.refusesOnce));
  expect(s.pids()).toHaveLength(1);
  expect(withoutStarts(s.notes())).toEqual([
    "replace-all 3",
    "remove-peer host2",
    "remove-peer host3",
    "remove-peer host4",
  ]);
});

test("a carrier whose peers may be newer than what is known is told of peers one by one, and later of all", async () => {
  using s = staged();
  const carrier = s.open();
  const [one, two] = s.peers;
  await carrier.carry({ ...wishOf([one, two]), keep: true });
  await carrier.carry(wishOf([one]));
  expect(s.pids()).toHaveLength(1);
  expect(withoutStarts(s.notes())).toEqual(["set-peer host2", "set-peer host3", "replace-all 1"]);
});

test("a carrier that ends as it is spoken to is started again at the next try", async () => {
  using s = staged();
  const carrier = s.open();
  expect(await failureOf(() => carrier.carry(wishOf(s.peers, FAULTY.endsWhenSpokenTo)))).toBeDefined();
  await carrier.carry(wishOf(s.peers, FAULTY.endsWhenSpokenTo));
  expect(s.pids()).toHaveLength(2);
  expect(s.notes().at(-1)).toBe("replace-all 3");
});

test("a carrier that does not start in time is not left behind", async () => {
  using s = staged();
  const failure = await failureOf(() => s.open(1_500).carry(wishOf(s.peers, FAULTY.silent)));
  expect(failure?.message).toStartWith("the forwarder did not start");
  const [pid = 0] = s.pids();
  while (isRunning(pid)) await Bun.sleep(1);
});

test("a carrier that hangs is ended once it has not answered twice, and another one is started", async () => {
  using s = staged();
  const carrier = s.open(5_000, 200);
  const wish = wishOf(s.peers);
  await carrier.carry(wish);
  const [hung = 0] = s.pids();
  process.kill(hung, "SIGSTOP");
  const why = async () => (await failureOf(() => carrier.carry(wish)))?.message;
  expect(await why()).toEndWith("does not answer");
  expect(isRunning(hung)).toBe(true);
  expect(await why()).toEndWith("has not answered 2 times and was ended; another one is started");
  expect(isRunning(hung)).toBe(false);
  await carrier.carry(wish);
  expect(s.pids()).toHaveLength(2);
  expect(s.notes().at(-1)).toBe("replace-all 3");
  expect(s.losses.count).toBe(0);
});

test("a carrier that hung before this agent began is ended as well, also if none is wanted any more", async () => {
  using s = staged();
  const wish = wishOf(s.peers);
  for (const next of [wish, undefined]) {
    await s.open().carry(wish);
    const hung = s.pids().at(-1) ?? 0;
    process.kill(hung, "SIGSTOP");
    const carrier = s.open(5_000, 200);
    for (let i = 0; i < 2; i++) expect(await failureOf(() => carrier.carry(next))).toBeDefined();
    expect(isRunning(hung)).toBe(false);
    await carrier.carry(next);
  }
  expect(s.pids()).toHaveLength(3);
});

test("who listens in a carrier's place without an answer, and is none, is left alone", async () => {
  using s = staged();
  using listener = Bun.listen({ unix: s.control, socket: { data() {} } });
  const carrier = s.open(5_000, 200);
  const why = async () => (await failureOf(() => carrier.carry(wishOf(s.peers))))?.message;
  expect(await why()).toEndWith("does not answer");
  expect(await why()).toContain("is left alone");
  listener.stop(true);
});

test("a carrier that does not start says why, in one line", async () => {
  using s = staged();
  expect(s.open().carry(wishOf(s.peers, FAULTY.noDevice))).rejects.toThrow("no such device; hint: make it");
});
