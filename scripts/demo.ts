/**
 * `npm run demo`: one network from its configuration to traffic and back, on a host that is made for it and goes with
 * it. `--on-this-host` does the same for real. This file finds the role of the process: the one that a person starts,
 * the one that plays the host, and the small ones inside the containers.
 */
import { ensureBuilt } from "./build.ts";
import { fetchOnce, serve } from "./demo/http.ts";
import { makeScreen, type Screen, wantsColour } from "./demo/screen.ts";
import { runSession } from "./demo/session.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const usage = `usage: npm run demo [-- --on-this-host]

Attaches two containers to one network, sends traffic, shows what was made, and takes it away again.
It does so in a network namespace of its own; with --on-this-host, in that of this machine.`;

/** Starts this file again in namespaces of its own, which end with it, and passes signals on. */
async function inPrivateHost(): Promise<number> {
  const argv = ["unshare", "--net", "--mount", "--", process.execPath, import.meta.path, "--inside"];
  const child = Bun.spawn(argv, { stdio: ["inherit", "inherit", "inherit"] });
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal));
  return child.exited;
}

async function session(screen: Screen, heddle: string, onThisHost: boolean): Promise<number> {
  const stop = new AbortController();
  for (const signal of SIGNALS) process.on(signal, () => stop.abort(new Error(`stopped by ${signal}`)));
  return (await runSession(screen, { heddle, onThisHost, signal: stop.signal })) ? 0 : 1;
}

function whyNot(): string | undefined {
  if (process.platform !== "linux") return "the demo needs Linux: it makes network namespaces";
  if (process.geteuid?.() === 0) return undefined;
  return "the demo needs root, since only root may make network namespaces; try: sudo npm run demo";
}

async function main(args: readonly string[]): Promise<number> {
  const [first, second = ""] = args;
  if (first === "--serve") return serve(second);
  if (first === "--fetch") return fetchOnce(second);
  if (args.includes("--help") || args.includes("-h")) {
    console.log(usage);
    return 0;
  }
  const unknown = args.find((arg) => arg !== "--on-this-host" && arg !== "--inside");
  const why = unknown === undefined ? whyNot() : `unknown argument ${unknown}\n${usage}`;
  if (why !== undefined) {
    console.error(`demo: ${why}`);
    return 1;
  }
  const colours = wantsColour(process.stdout.isTTY, process.env);
  const screen = makeScreen((text) => void process.stdout.write(text), colours);
  if (first === "--inside") return session(screen, await ensureBuilt(), false);
  screen.part("Heddle: two containers on one network");
  const heddle = await screen.step("npm run build", ensureBuilt);
  return args.includes("--on-this-host") ? session(screen, heddle, true) : inPrivateHost();
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (e) {
  console.error(`demo: ${e instanceof Error ? e.message : String(e)}`);
  process.exitCode = 1;
}
