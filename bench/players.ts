/** How each kind of player attaches and detaches: one after another for the times, beside others for bursts. */
import { mkdirSync, writeFileSync } from "node:fs";
import { command } from "../scripts/command.ts";
import type { Case, Player } from "./cases.ts";
import { floorAdd, floorDel, prepareFloor } from "./floor.ts";
import {
  type Attachment,
  type Call,
  inOrder,
  knowsPrevResult,
  plainEnv,
  pluginCall,
  runBeside,
  runSync,
  type Verb,
} from "./neutral-runtime.ts";

/** Where things stand that a player needs. */
export interface Places {
  /** Links to our executable, one a plugin's name, and `heddle`. */
  readonly heddle: string;
  readonly reference: string;
  /** A compiled program that does nothing. */
  readonly empty: string;
  /** A directory for `NETCONFPATH` with the player's list. */
  readonly confDir: string;
}

/** The namespace of a host beside the stage. */
export const NEIGHBOUR = "neighbour";

/** A container of the stage. */
export interface Container {
  readonly number: number;
  readonly netns: string;
}

export const attachmentOf = (of: Case, { number, netns }: Container): Attachment => ({
  containerId: `bench-container-${number}`,
  netns,
  ifname: of.ifname,
  ...(of.mapped ? { hostPort: 20_000 + number } : {}),
});

/** What has to be there before the first attachment. */
export async function prepare(of: Case, player: Player): Promise<void> {
  if (player.kind === "floor") prepareFloor();
  if (of.askedBy === "neighbour") await prepareNeighbour();
  if (of.reserved !== undefined) reserve(player.list.name, of.reserved);
}

/** A host on the network that `up0` leads to, with an address of it. */
async function prepareNeighbour(): Promise<void> {
  await command(["ip", "netns", "add", NEIGHBOUR]);
  const far = ["peer", "name", "eth0", "netns", NEIGHBOUR];
  await command(["ip", "link", "add", "up0", "type", "veth", ...far]);
  await command(["ip", "link", "set", "up0", "up"]);
  await command(["ip", "-n", NEIGHBOUR, "link", "set", "eth0", "up"]);
  await command(["ip", "-n", NEIGHBOUR, "addr", "add", "10.244.10.1/24", "dev", "eth0"]);
}

/** Gives the first addresses of 10.244.0.0/16 away, in the files of the reference. */
function reserve(network: string, count: number): void {
  const dir = `/var/lib/cni/networks/${network}`;
  mkdirSync(dir, { recursive: true });
  for (let n = 2; n < count + 2; n++)
    writeFileSync(`${dir}/10.244.${n >> 8}.${n & 255}`, `other-container-${n}\r\neth0`, { mode: 0o600 });
  writeFileSync(`${dir}/last_reserved_ip.0`, `10.244.${(count + 1) >> 8}.${(count + 1) & 255}`);
}

/** The calls of one verb, each made from what the one before printed. */
export function* callsOf(
  of: Case,
  player: Player,
  places: Places,
  verb: Verb,
  container: Container,
  prev: unknown,
): Generator<Call, void, string> {
  const attachment = attachmentOf(of, container);
  if (player.kind === "empty") {
    yield { argv: [places.empty], env: plainEnv, stdin: "{}" };
  } else if (player.kind === "command") {
    yield commandCall(player, places, verb, attachment);
  } else if (player.kind === "plugins") {
    let result = prev;
    for (const plugin of inOrder(player.list, verb)) {
      const given = knowsPrevResult(player.list, verb) ? result : undefined;
      const call = pluginCall(places[player.maker], verb, player.list, plugin, attachment, given);
      const stdout = yield verb === "DEL" && player.knownComplaint !== undefined
        ? { ...call, knownComplaint: player.knownComplaint }
        : call;
      if (verb === "ADD") result = JSON.parse(stdout) as unknown;
    }
  }
}

function commandCall(
  player: Player,
  places: Places,
  verb: Verb,
  { netns, hostPort, ifname }: Attachment,
): Call {
  const mappings = [{ hostPort, containerPort: 80, protocol: "tcp", hostIP: "127.0.0.1" }];
  return {
    argv: [`${places.heddle}/heddle`, "cni", verb.toLowerCase(), player.list.name, netns, "--ifname", ifname],
    env: {
      ...plainEnv,
      CNI_PATH: places.heddle,
      NETCONFPATH: places.confDir,
      ...(hostPort === undefined ? {} : { CAP_ARGS: JSON.stringify({ portMappings: mappings }) }),
    },
    stdin: "",
  };
}

export interface Timed {
  readonly ms: number;
  /** What the last program printed. */
  readonly stdout: string;
}

/** Carries out a verb and times it: the sum of what its programs took, or what the loop took. */
export function perform(
  of: Case,
  player: Player,
  places: Places,
  verb: Verb,
  container: Container,
  prev: unknown,
): Timed {
  if (player.kind === "floor") {
    const attachment = { ...container, mapped: of.mapped };
    const started = performance.now();
    if (verb === "ADD") floorAdd(attachment);
    else floorDel(attachment);
    return { ms: performance.now() - started, stdout: "" };
  }
  let total = 0;
  const calls = callsOf(of, player, places, verb, container, prev);
  let stdout = "";
  for (let next = calls.next(stdout); next.done !== true; next = calls.next(stdout)) {
    const done = runSync(next.value);
    total += done.ms;
    stdout = done.stdout;
  }
  return { ms: total, stdout };
}

/** As `perform`, beside others; not timed. */
export async function performBeside(
  of: Case,
  player: Player,
  places: Places,
  verb: Verb,
  container: Container,
  prev: unknown,
  started?: (pid: number) => void,
): Promise<string> {
  const calls = callsOf(of, player, places, verb, container, prev);
  let stdout = "";
  for (let next = calls.next(stdout); next.done !== true; next = calls.next(stdout))
    stdout = await runBeside(next.value, started);
  return stdout;
}
