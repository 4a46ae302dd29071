import { expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { ip } from "../testing/address.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { openCarrier } from "./carrier.ts";
import type { CarriedPeer, CarrierWish } from "./model.ts";

/** Answers as a forwarder does, and writes down what it was asked. A second one takes the socket's place. */
const FAKE = `
  import { appendFileSync, rmSync } from "node:fs";
  const argv = process.argv.slice(2);
  const control = argv[argv.indexOf("--control") + 1];
  const note = (line) => appendFileSync(control.replace("sock", "notes"), line + "\\n");
  if (argv.includes("1")) { console.log("no such device"); process.exit(1); }
  note("start " + process.pid + " " + argv.slice(0, 6).join(" "));
  rmSync(control, { force: true });
  Bun.listen({ unix: control, socket: { data(socket, bytes) {
    const { command, peers, peer, id } = JSON.parse(bytes.toString());
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
  const open = () =>
    stack.use(
      openCarrier({
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
    notes,
    pids,
    losses,
    peers: [one, two, three] as const,
    [Symbol.dispose]: () => stack.dispose(),
  };
}

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

test("a carrier that does not start says why", async () => {
  using s = staged();
  expect(s.open().carry(wishOf(s.peers, 1))).rejects.toThrow("no such device");
});
