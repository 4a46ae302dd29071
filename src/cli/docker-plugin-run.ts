/** The Docker plugin as a process: its socket, its children, its signals, its log on standard error. */
import { LONG_MS } from "../cni/executable.ts";
import { tellJournal } from "../cni/journal.ts";
import { stateDir } from "../dhcp/store.ts";
import { handle } from "../docker/api.ts";
import { openBook } from "../docker/book.ts";
import { CHILD_COMMAND, taskRunner } from "../docker/children.ts";
import { hostView } from "../docker/host.ts";
import { serveHttp } from "../docker/server.ts";
import { openStore } from "../docker/store.ts";
import { NetError } from "../errors.ts";
import { runDir } from "../netstate/record.ts";
import { dirOf, makeDirs, O, putText, renameFile } from "../sys/files.ts";
import { openListener } from "../sys/unix-service.ts";
import { endingSignal, ownProgram, passedOn } from "./daemon.ts";
import type { DockerPluginOptions } from "./docker-plugin.ts";
import { complain } from "./output.ts";

/** How long calls that are being served may take when this is told to end. */
const ENDING_MS = 30_000;

/** Runs until a signal ends it. Networks and containers stay as they are: the next one goes on with them. */
export async function runDockerPlugin({ socket, spec }: DockerPluginOptions): Promise<void> {
  if (process.platform !== "linux")
    throw new NetError("feature/missing", { feature: "heddle docker-plugin", needs: "Linux" });
  for (const [name, path] of [
    ["--socket", socket],
    ["--spec", spec],
  ])
    if (path !== undefined && !path.startsWith("/"))
      throw new NetError("usage/invalid", { why: `${name} must be an absolute path, not "${path}"` });
  if (spec !== undefined && !spec.endsWith(".spec"))
    throw new NetError("usage/invalid", { why: `--spec must name a file that ends in .spec, not "${spec}"` });
  const ended = endingSignal();
  using stack = new DisposableStack();
  const store = stack.use(openStore(stateDir()));
  const { listener, remove } = await openListener(socket, passedOn(), "a Docker plugin");
  stack.defer(remove);
  const book = openBook({
    store,
    run: taskRunner([...ownProgram(), CHILD_COMMAND], { HEDDLE_RUN_DIR: runDir() }),
    host: hostView,
    log: complain,
    tell: (call) => {
      if (call.failure !== undefined || call.tookMs >= LONG_MS) tellJournal(call, process.env);
    },
  });
  const service = serveHttp(listener, { handle: async (request) => handle(book, request), log: complain });
  if (spec !== undefined) writeSpec(spec, socket);
  complain(`heddle docker-plugin listens on ${socket}`);
  const signal = await ended;
  complain(`ends because of ${signal}; networks and containers stay as they are`);
  // Docker waits for what is being done.
  await service.finish(ENDING_MS);
}

/** Stays when this ends: Docker then waits for a moment until the next one listens. */
function writeSpec(spec: string, socket: string): void {
  makeDirs(dirOf(spec), 0o755);
  const draft = `${spec}.new`;
  putText(draft, `unix://${socket}\n`, O.CREAT | O.TRUNC | O.NOFOLLOW, 0o644);
  renameFile(draft, spec);
}
