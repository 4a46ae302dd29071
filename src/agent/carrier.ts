/**
 * The process that carries packets for `udp`: started so that it outlives the agent, told who the peers are, and started again
 * when it ends. Who it was started by does not matter: the first word to one that runs is to a successor of this executable, which
 * takes over its device and socket.
 */
import { closeSync, openSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { isNetError, NetError } from "../errors.ts";
import { askForwarder } from "../forwarder/client.ts";
import { makeDirs, removeIfThere, statLink } from "../sys/files.ts";
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
}

export interface Carrier extends Disposable {
  /** Resolves when the process runs and knows its peers, or when there is none. @throws try-again, usage/invalid */
  carry(wish: CarrierWish | undefined): Promise<void>;
}

/** More changes of peers than this are told as a whole. */
const SINGLY = 16;
/** A process that has not said by then that it runs is given up. */
const START_MS = 5_000;
const LOOK_MS = 5;

/** A process that was spoken to. */
interface Spoken {
  readonly key: string;
  readonly control: string;
  peers: ReadonlyMap<string, CarriedPeer>;
  /** A connection that ends with it. */
  readonly watch: { terminate(): void };
}

export function openCarrier({ program, dir, device: former, lost }: CarrierSetup): Carrier {
  let spoken: Spoken | undefined;
  const fileOf = (device: string, kind: "sock" | "json" | "log"): string => `${dir}/${device}.${kind}`;
  const forget = (): void => {
    const { watch } = spoken ?? {};
    spoken = undefined;
    watch?.terminate();
  };
  const start = async (wish: CarrierWish): Promise<Spoken> => {
    const control = fileOf(wish.device, "sock");
    const log = fileOf(wish.device, "log");
    makeDirs(dirname(control), 0o700);
    const words = optionsOf(wish, control, fileOf(wish.device, "json"));
    await startDetached([...program, ...words], log);
    const watch = await Bun.connect({
      unix: control,
      socket: {
        data() {},
        close() {
          if (spoken?.watch !== watch) return;
          spoken = undefined;
          lost();
        },
      },
    });
    return { key: keyOf(wish), control, peers: new Map(), watch };
  };
  return {
    async carry(wish) {
      if (wish === undefined) {
        const control = spoken?.control ?? fileOf(former, "sock");
        forget();
        if (statLink(control) !== undefined) await removed(control);
        return;
      }
      const isNew = spoken === undefined || spoken.key !== keyOf(wish);
      if (isNew) {
        forget();
        spoken = await start(wish);
      }
      const now = spoken;
      if (now === undefined) throw new NetError("try-again", { why: "the forwarder ended at once" });
      const peers = new Map(wish.peers.map((peer) => [peer.id, peer]));
      await tellPeers(now, peers, isNew);
      now.peers = peers;
    },
    [Symbol.dispose]: forget,
  };
}

/** Ends it and its device; one that is dead has left a file. */
async function removed(control: string): Promise<void> {
  try {
    await askForwarder(control, { command: "remove" });
  } catch (e) {
    if (!isNetError(e, "try-again")) throw e;
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

/** Starts a program in a session of its own, its output in a file, and waits until it says there that it forwards. */
async function startDetached(argv: readonly string[], log: string): Promise<void> {
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
  const end = performance.now() + START_MS;
  for (;;) {
    const said = readFileSync(log, "utf8");
    if (said.includes("forwards between")) return;
    if (child.exitCode !== null || child.signalCode !== null || performance.now() > end)
      throw new NetError("try-again", { why: `the forwarder did not start: ${said.trim().slice(-400)}` });
    await Bun.sleep(LOOK_MS);
  }
}

/** A process that is new may know others from before. */
async function tellPeers(
  { control, peers: before }: Spoken,
  peers: ReadonlyMap<string, CarriedPeer>,
  isNew: boolean,
): Promise<void> {
  const changed = [...peers.values()].filter((peer) => before.get(peer.id) !== peer);
  const gone = [...before.keys()].filter((id) => !peers.has(id));
  if (isNew || changed.length + gone.length > SINGLY) {
    await askForwarder(control, { command: "replace-all", peers: [...peers.values()] });
    return;
  }
  for (const peer of changed) await askForwarder(control, { command: "set-peer", peer });
  for (const id of gone) await askForwarder(control, { command: "remove-peer", id });
}
