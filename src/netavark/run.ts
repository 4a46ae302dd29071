/** The plugin of netavark as a process: its standard input and output, and the journal. */
import { LONG_MS, readStdin, writeAll } from "../cni/executable.ts";
import type { Runtime } from "../cni/runtime.ts";
import { userRunDir } from "../netstate/record.ts";
import { pluginHost } from "../plugins/registry.ts";
import { answer } from "./protocol.ts";
import type { NetavarkWord } from "./words.ts";
import { workWith } from "./work.ts";

/** Serves the one call of this process, and sets the exit code. */
export async function runNetavarkPlugin(word: NetavarkWord, netns: string | undefined): Promise<void> {
  const { code, stdout, failure, about } = await answer(word, netns, readStdin, workWith(runtime()));
  process.exitCode = writeAll(1, stdout) ? code : 1;
  const tookMs = performance.now();
  if (code === 0 && tookMs < LONG_MS) return;
  const { failureToTell, tellJournal } = await import("../cni/journal.ts");
  const told = failure === undefined ? undefined : failureToTell(failure);
  tellJournal({ plugin: "netavark", verb: word, ...about, tookMs, failure: told }, process.env);
}

/** Every plugin is this executable's own, wherever it is and whatever stands in `CNI_PATH`. */
function runtime(): Runtime {
  const user = userRunDir();
  return {
    host: pluginHost(true, { standIn: true }),
    path: "",
    env: process.env,
    // A user's own Podman may write there alone.
    ...(user === undefined ? {} : { cacheDir: `${user}/cni` }),
    log: (message) => void writeAll(2, message.endsWith("\n") ? message : `${message}\n`),
  };
}
