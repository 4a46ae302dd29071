/** The plugin of netavark as a process: its standard input and output, and the journal. */
import { readStdin, writeAll } from "../cni/executable.ts";
import type { Runtime } from "../cni/runtime.ts";
import { userRunDir } from "../netstate/record.ts";
import { pluginHost } from "../plugins/registry.ts";
import { answer } from "./protocol.ts";
import type { NetavarkWord } from "./words.ts";
import { workWith } from "./work.ts";

/** A call that takes longer is told of in the journal, in milliseconds. */
const LONG_MS = 1000;

/** Serves the one call of this process, and sets the exit code. */
export async function runNetavarkPlugin(word: NetavarkWord, netns: string | undefined): Promise<void> {
  const { code, stdout, failure, about } = await answer(word, netns, readStdin, workWith(runtime()));
  process.exitCode = writeAll(1, stdout) ? code : 1;
  const tookMs = performance.now();
  if (code === 0 && tookMs < LONG_MS) return;
  const { tellJournal } = await import("../cni/journal.ts");
  const env = {
    ...process.env,
    CNI_COMMAND: word,
    CNI_CONTAINERID: about?.containerId,
    CNI_IFNAME: about?.ifname,
  };
  const more = {
    ...(about ? { network: about.network } : {}),
    ...(failure === undefined ? {} : { failure }),
  };
  tellJournal({ plugin: "netavark", env, tookMs, ...more });
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
