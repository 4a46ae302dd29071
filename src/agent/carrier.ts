/**
 * The process that carries packets for `udp`: started so that it outlives the agent, told who the peers are, and started again
 * when it ends; one that is silent is ended first. Who it was started by does not matter: the first word to one that runs is to a successor of this executable, which
 * takes over its device and socket.
 */
import { closeSync, openSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { isNetError, NetError } from "../errors.ts";
import { askForwarder, type ForwarderStatus, forwarderStatus, isSilence } from "../forwarder/client.ts";
import { makeDirs, removeIfThere, statLink } from "../sys/files.ts";
import { endListener, listenerOf } from "./carrier-end.ts";
import type { CarriedPeer, CarrierWish } from "./model.ts";

export interface CarrierSetup {
  /** This program, as it is started again. */
  readonly program: readonly string[];
  /** Where its files are: socket, peers and log, by the device's name. */
  readonly dir: string;
  /** The device whose packets an earlier agent may have had carried. */
  readonly device: string;
  /** Hears that the process has ended. */
  readonly lost: () => void;
  /** A process that has not said by then that it runs is ended; 5,000 milliseconds unless told. */
  readonly startMs?: number;
  /** Within that it says how it is; 3,000 milliseconds unless told. */
  readonly answerMs?: number;
}

export interface Carrier extends Disposable {
  /**
   * Resolves when the process runs, knows its peers and has said how it is, or when there is none. One that does not answer
   * twice in a row is ended, and the next call starts another one. @throws try-again, usage/invalid
   */
  carry(wish: CarrierWish | undefined): Promise<ForwarderStatus | undefined>;
}

/** More changes of peers than this are told as a whole. */
const SINGLY = 16;
const LOOK_MS = 5;
/** So often in a row it may leave a call without an answer. */
const SILENCES = 2;

/** A process that was spoken to. */
interface Spoken {
  readonly key: string;
  readonly control: string;
  /** What it knows for certain; undefined: it has to be told all of them. */
  peers: ReadonlyMap<string, CarriedPeer> | undefined;
  /** What it was told last; undefined after a failure. */
  told: CarrierWish | undefined;
}

export function openCarrier(setup: CarrierSetup): Carrier {
  const { program, dir, device: former, lost, startMs = 5_000, answerMs = 3_000 } = setup;
  let spoken: Spoken | undefined;
  /** A connection that ends with the process. */
  let watch: { terminate(): void } | undefined;
  const fileOf = (device: string, kind: "sock" | "json" | "log"): string => `${dir}/${device}.${kind}`;
  const forget = (): void => {
    spoken = undefined;
    watch?.terminate();
    watch = undefined;
  };
  let silences = 0;
  const heard = async <T>(control: string, work: () => Promise<T>): Promise<T> => {
    try {
      const answer = await work();
      silences = 0;
      return answer;
    } catch (e) {
      if (!isSilence(e, control) || ++silences < SILENCES) throw e;
      forget();
      await endListener(control);
      silences = 0;
      const why = `the forwarder at ${control} has not answered ${SILENCES} times and was ended; another one is started`;
      throw new NetError("try-again", { why }, { cause: e });
    }
  };
  const start = async (wish: CarrierWish): Promise<Spoken> => {
    const control = fileOf(wish.device, "sock");
    const log = fileOf(wish.device, "log");
    forget();
    makeDirs(dirname(control), 0o700);
    // Who is to hand over has to answer; one that is just ending need not.
    if (listenerOf(control) !== undefined) await heard(control, () => unlessSilent(control, answerMs));
    const words = optionsOf(wish, control, fileOf(wish.device, "json"));
    await startDetached([...program, ...words], { log, withinMs: startMs });
    const started: Spoken = { key: keyOf(wish), control, peers: undefined, told: undefined };
    let isConnected = false;
    const close = (): void => {
      if (spoken !== started) return;
      forget();
      if (isConnected) lost();
    };
    // From here on its end is seen, also the one that comes with the connection.
    spoken = started;
    try {
      watch = await Bun.connect({ unix: control, socket: { data() {}, close } });
    } catch (e) {
      forget();
      throw e;
    }
    if (spoken !== started) throw new NetError("try-again", { why: "the forwarder ended at once" });
    isConnected = true;
    return started;
  };
  return {
    async carry(wish) {
      if (wish === undefined) {
        const control = spoken?.control ?? fileOf(former, "sock");
        forget();
        if (statLink(control) !== undefined) await heard(control, () => removed(control, answerMs));
        return undefined;
      }
      const now = spoken?.key === keyOf(wish) ? spoken : await start(wish);
      return heard(now.control, async () => {
        if (now.told !== wish) await tell(now, wish);
        return forwarderStatus(now.control, answerMs);
      });
    },
    [Symbol.dispose]: forget,
  };
}

/** Anything but silence is an answer, or its end. */
async function unlessSilent(control: string, withinMs: number): Promise<void> {
  try {
    await forwarderStatus(control, withinMs);
  } catch (e) {
    if (!isNetError(e, "try-again") || isSilence(e, control)) throw e;
  }
}

async function tell(now: Spoken, wish: CarrierWish): Promise<void> {
  const before = now.peers;
  const peers = new Map(wish.peers.map((peer) => [peer.id, peer]));
  // What it knows after a failure nobody can say.
  now.peers = undefined;
  now.told = undefined;
  if (wish.keep === true && before === undefined) await addPeers(now.control, peers);
  else {
    await tellPeers(now.control, before, peers);
    now.peers = peers;
  }
  now.told = wish;
}

/** Ends it and its device; one that is dead has left a file. */
async function removed(control: string, withinMs: number): Promise<void> {
  try {
    await askForwarder(control, { command: "remove" }, withinMs);
  } catch (e) {
    if (!isNetError(e, "try-again") || isSilence(e, control)) throw e;
    removeIfThere(control);
  }
}

const keyOf = ({ device, mtuBytes, listen, port, own }: CarrierWish): string =>
  [device, mtuBytes, listen.text, port, ...own.map(({ text }) => text)].join(" ");

const optionsOf = (
  { device, mtuBytes, listen, port, own }: CarrierWish,
  control: string,
  state: string,
): readonly string[] => [
  "forwarder",
  "--take-over",
  ...["--device", device, "--mtu", `${mtuBytes}`, "--listen", listen.text, "--port", `${port}`],
  ...["--control", control, "--state", state],
  ...own.flatMap(({ text }) => ["--own", text]),
];

/**
 * Starts a program in a session of its own, its output in a file, and waits until it says there that it forwards. One that
 * does not is ended: what comes of it later nobody would know of.
 */
async function startDetached(
  argv: readonly string[],
  { log, withinMs }: { readonly log: string; readonly withinMs: number },
): Promise<void> {
  const fd = openSync(log, "w", 0o600);
  let child: Bun.Subprocess;
  try {
    child = Bun.spawn([...argv], {
      detached: true,
      stdio: ["ignore", fd, fd],
      env: { PATH: process.env["PATH"] ?? "", HEDDLE_RUN_DIR: process.env["HEDDLE_RUN_DIR"] },
    });
  } finally {
    closeSync(fd);
  }
  child.unref();
  const end = performance.now() + withinMs;
  const hasEnded = (): boolean => child.exitCode !== null || child.signalCode !== null;
  for (;;) {
    const isLast = hasEnded() || performance.now() > end;
    const said = readFileSync(log, "utf8");
    if (said.includes("forwards between")) return;
    if (isLast) {
      if (!hasEnded()) child.kill("SIGKILL");
      const text = said
        .trim()
        .slice(-400)
        .replaceAll(/\s*\n\s*/g, "; ");
      throw new NetError("try-again", { why: `the forwarder did not start: ${text}` });
    }
    await Bun.sleep(LOOK_MS);
  }
}

/** Which others it knows is not asked, and not changed. */
async function addPeers(control: string, peers: ReadonlyMap<string, CarriedPeer>): Promise<void> {
  for (const peer of peers.values()) await askForwarder(control, { command: "set-peer", peer });
}

/** A process of which it is not known what it knows, as one that is new, may know others from before. */
async function tellPeers(
  control: string,
  before: ReadonlyMap<string, CarriedPeer> | undefined,
  peers: ReadonlyMap<string, CarriedPeer>,
): Promise<void> {
  const changed = [...peers.values()].filter((peer) => before?.get(peer.id) !== peer);
  const gone = [...(before?.keys() ?? [])].filter((id) => !peers.has(id));
  if (before === undefined || changed.length + gone.length > SINGLY) {
    await askForwarder(control, { command: "replace-all", peers: [...peers.values()] });
    return;
  }
  for (const peer of changed) await askForwarder(control, { command: "set-peer", peer });
  for (const id of gone) await askForwarder(control, { command: "remove-peer", id });
}
