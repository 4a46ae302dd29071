/**
 * The demo itself, step by step: install, attach, traffic, what was made, CHECK, detach, what is left; once more with
 * iptables; and several hosts in a lab. Everything that it makes is taken away at its end, however it ends.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command } from "../command.ts";
import { inProject } from "../paths.ts";
import { draw } from "./drawing.ts";
import { HOST_PORT, playHost, requireFree, takeBack } from "./host.ts";
import { get, LISTENING } from "./http.ts";
import { showLab } from "./lab.ts";
import { borrowedValues, exclusive, NETWORK, picture, shared } from "./kernel.ts";
import type { Screen } from "./screen.ts";

export interface SessionOptions {
  /** The executable. */
  readonly heddle: string;
  readonly onThisHost: boolean;
  /** Aborted by Ctrl-C: nothing new is begun, what is there is taken away. */
  readonly signal: AbortSignal;
}

const LIST = inProject("examples", `${NETWORK}.conflist`);
const CAP_ARGS = JSON.stringify({
  portMappings: [{ hostPort: HOST_PORT, containerPort: 80, protocol: "tcp", hostIP: "127.0.0.1" }],
});

/** What the steps work with. */
interface Demo {
  readonly screen: Screen;
  readonly containers: readonly [server: string, client: string];
  /** `heddle cni VERB` for a container; gives what it printed. */
  cni(verb: "add" | "check" | "del", container: string, options?: CniOptions): Promise<string>;
  /** As `Screen.step`, unless the demo was stopped. */
  step<T>(title: string, work: () => T | Promise<T>): Promise<T>;
  /** Prints the finding and remembers a bad one. */
  finding(ok: boolean, text: string): void;
}
interface CniOptions {
  /** The directory of the list; by default that of the project's example. */
  readonly confDir?: string;
  readonly capArgs?: string;
}

/** Runs the demo; true if everything was as it should be. */
export async function runSession(screen: Screen, options: SessionOptions): Promise<boolean> {
  const { heddle, onThisHost, signal } = options;
  await using stack = new AsyncDisposableStack();
  let good = true;
  const scratch = mkdtempSync(join(tmpdir(), "heddle-demo-"));
  stack.defer(() => rmSync(scratch, { recursive: true, force: true }));
  const step: Demo["step"] = (title, work) => {
    signal.throwIfAborted();
    return screen.step(title, work);
  };
  const bin = join(scratch, "bin");
  const cni: Demo["cni"] = (verb, container, { confDir = inProject("examples"), capArgs } = {}) =>
    command([join(bin, "heddle"), "cni", verb, NETWORK, `/run/netns/${container}`], {
      env: { CNI_PATH: bin, NETCONFPATH: confDir, CAP_ARGS: capArgs },
    });
  const containers = onThisHost
    ? (["heddle-demo-blue", "heddle-demo-green"] as const)
    : (["blue", "green"] as const);
  const finding: Demo["finding"] = (ok, text) => {
    good &&= ok;
    screen.finding(ok, text);
  };
  const demo: Demo = { screen, containers, cni, step, finding };

  if (onThisHost) await step("the port, the subnet and the name are free on this host", requireFree);
  else await step("unshare --net --mount: a host of its own", playHost);
  const before = await shared();
  const iptablesBefore = onThisHost ? await command(["iptables-save"]) : "";
  if (onThisHost) stack.defer(() => takeBack(before, iptablesBefore));
  await step("heddle install --cni-bin-dir DIR", () => command([heddle, "install", "--cni-bin-dir", bin]));
  for (const container of containers) {
    stack.defer(() => command(["ip", "netns", "delete", container]).then(undefined, () => {}));
    await step(`ip netns add ${container}`, () => command(["ip", "netns", "add", container]));
  }
  // Also after a step that failed: DEL of what is not attached succeeds.
  stack.defer(async () => {
    for (const container of containers) await cni("del", container).catch(() => "");
  });

  await attach(demo);
  await using server = startServer(containers[0]);
  await traffic(demo, server);
  screen.part("What was made, as ip and nft see it");
  screen.show(draw(await picture(containers)));
  screen.part("$ nft list table inet heddle");
  screen.show(await command(["nft", "list", "table", "inet", "heddle"]), "dim");
  await checks(demo, scratch);
  const borrowed = borrowedValues();
  await detach(demo);
  const back = borrowed === 0 ? "none were taken" : `${borrowed} were taken, and are back with their records`;
  finding(true, `borrowed values: ${back}`);
  await onceMoreWithIptables(demo, scratch);
  await whatStays(demo, before, onThisHost);
  await showLab({ screen, heddle: join(bin, "heddle"), step, finding });
  return good;
}

async function attach({ screen, containers: [server, client], cni, step, finding }: Demo): Promise<void> {
  screen.part("A network: the list, and what the container asks of it");
  screen.show(readFileSync(LIST, "utf8"));
  screen.show(`CAP_ARGS='${CAP_ARGS}'`);
  screen.part("ADD");
  const at = (container: string): string => `heddle cni add ${NETWORK} /run/netns/${container}`;
  const printed = await step(at(server), () => cni("add", server, { capArgs: CAP_ARGS }));
  screen.show(printed);
  const wrong = differences(JSON.parse(printed), `/run/netns/${server}`);
  finding(wrong.length === 0, wrong.length === 0 ? "the result is what 0.3.0 asks for" : wrong.join("; "));
  const second = await step(at(client), () => cni("add", client));
  screen.show(`… ${(JSON.parse(second) as { ips: readonly { address: string }[] }).ips[0]?.address}`);
}

interface Result030 {
  readonly cniVersion?: unknown;
  readonly interfaces?: readonly { readonly name?: string; readonly sandbox?: string }[];
  readonly ips?: readonly {
    readonly version?: string;
    readonly interface?: number;
    readonly gateway?: string;
  }[];
  readonly routes?: unknown;
  readonly dns?: unknown;
}

/** Where a result is not the one that this list must give. */
function differences(result: Result030, sandbox: string): readonly string[] {
  const [bridge, host, inside, ...more] = result.interfaces ?? [];
  const [ip] = result.ips ?? [];
  const rules: readonly (readonly [string, boolean])[] = [
    ["cniVersion is 0.3.0", result.cniVersion === "0.3.0"],
    ["three interfaces: bridge, host's end, eth0", more.length === 0 && bridge?.name === NETWORK],
    ["the host's end has no sandbox", host !== undefined && host.sandbox === undefined],
    ["eth0 has its sandbox", inside?.name === "eth0" && inside.sandbox === sandbox],
    ["the address is IPv4 and of interface 2", ip?.version === "4" && ip.interface === 2],
    ["the gateway is 10.244.10.1", ip?.gateway === "10.244.10.1"],
    ["one default route", JSON.stringify(result.routes) === '[{"dst":"0.0.0.0/0"}]'],
    ["dns is {}", JSON.stringify(result.dns) === "{}"],
  ];
  return rules.flatMap(([rule, holds]) => (holds ? [] : [`not so: ${rule}`]));
}

interface Server extends AsyncDisposable {
  readonly ready: Promise<void>;
}

const inContainer = (container: string, ...role: readonly string[]): readonly string[] => [
  ...["ip", "netns", "exec", container, process.execPath, inProject("scripts", "demo.ts"), ...role],
];

function startServer(container: string): Server {
  const child = Bun.spawn([...inContainer(container, "--serve", container)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ready = async (): Promise<void> => {
    for await (const chunk of child.stdout) if (new TextDecoder().decode(chunk).includes(LISTENING)) return;
    throw new Error("the HTTP server ended before it listened");
  };
  return {
    ready: ready(),
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

async function traffic({ screen, containers, step, finding }: Demo, { ready }: Server): Promise<void> {
  const [server, client] = containers;
  screen.part("Traffic");
  await step(`an HTTP server in ${server}, port 80`, () => ready);
  const [port] = (await picture([server])).ports;
  const address = port?.addresses[0]?.split("/")[0] ?? "";
  const ways: readonly (readonly [string, string, () => Promise<string>])[] = [
    [
      `from ${client}`,
      `http://${address}/`,
      () => command(inContainer(client, "--fetch", `http://${address}/`)),
    ],
    ["from the host", `http://127.0.0.1:${HOST_PORT}/`, () => get(`http://127.0.0.1:${HOST_PORT}/`)],
    ["from the host", `http://${address}/`, () => get(`http://${address}/`)],
  ];
  for (const [from, url, work] of ways) {
    const answer = await step(`${from}: ${url}`, work);
    finding(answer.startsWith(`hello from ${server}`), answer.trim());
  }
}

/** A copy of the list with other words in it, in a directory of its own. */
function variant(scratch: string, name: string, change: (text: string) => string): string {
  const dir = mkdtempSync(join(scratch, `${name}-`));
  writeFileSync(join(dir, `${NETWORK}.conflist`), change(readFileSync(LIST, "utf8")));
  return dir;
}
const newer = (text: string): string => text.replace('"0.3.0"', '"1.0.0"');

async function checks({ screen, containers, cni, step, finding }: Demo, scratch: string): Promise<void> {
  screen.part("CHECK");
  const [server] = containers;
  const refusal = await step(`heddle cni check ${NETWORK} /run/netns/${server}`, () =>
    cni("check", server).then(
      () => undefined,
      (e: Error) => e.message.split("\n").find((line) => line.startsWith("heddle:")),
    ),
  );
  finding(refusal !== undefined, "0.3.0 has no CHECK, and it says so:");
  screen.show(refusal ?? "");
  const confDir = variant(scratch, "newer", newer);
  for (const container of containers) {
    await step(`the same list at 1.0.0: check of ${container}`, () => cni("check", container, { confDir }));
    finding(true, `${container} is as ADD left it`);
  }
}

async function detach(demo: Demo): Promise<void> {
  demo.screen.part("DEL");
  for (const container of demo.containers)
    await demo.step(`heddle cni del ${NETWORK} /run/netns/${container}`, () => demo.cni("del", container));
  await nothingLeft(demo);
}

async function nothingLeft({ containers, finding }: Demo): Promise<void> {
  for (const [kind, things] of Object.entries(await exclusive(containers)))
    finding(things.length === 0, `${kind}: ${things.length === 0 ? "none left" : things.join("; ")}`);
}

const withIptables = (text: string): string =>
  newer(text)
    .replace('"ipMasq": true', '"ipMasq": true, "ipMasqBackend": "iptables"')
    .replace('"type": "portmap"', '"type": "portmap", "backend": "iptables"');

async function onceMoreWithIptables(demo: Demo, scratch: string): Promise<void> {
  const { screen, cni, step, finding } = demo;
  const [server] = demo.containers;
  screen.part('Once more, with "backend": "iptables"');
  const confDir = variant(scratch, "iptables", withIptables);
  await step(`heddle cni add ${NETWORK} /run/netns/${server}`, () =>
    cni("add", server, { confDir, capArgs: CAP_ARGS }),
  );
  const url = `http://127.0.0.1:${HOST_PORT}/`;
  const answer = await step(`from the host: ${url}`, () => get(url));
  finding(answer.startsWith(`hello from ${server}`), answer.trim());
  screen.part("$ iptables-save");
  screen.show(await command(["iptables-save"]), "dim");
  await step(`heddle cni del ${NETWORK} /run/netns/${server}`, () => cni("del", server, { confDir }));
  await nothingLeft(demo);
}

async function whatStays(
  { screen }: Demo,
  before: ReadonlyMap<string, string>,
  onThisHost: boolean,
): Promise<void> {
  screen.part("Shared by all containers of the host, and therefore still there");
  for (const [name, value] of await shared()) {
    const old = before.get(name);
    if (old === value) continue;
    screen.show(`${name}: ${value}${old === undefined ? "" : ` (before: ${old})`}`);
  }
  screen.show(
    onThisHost
      ? "The demo takes away what of this it has brought; a node would keep it for the next container."
      : "It goes with the demo's own host.",
  );
}
