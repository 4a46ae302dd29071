/**
 * A host with Heddle's Docker plugin and nothing else: what tests of the plugin work on that speak for Docker themselves.
 */
import { type HeddleBinary, heddleBinary } from "./executable.ts";
import { startDaemon, type TestDaemon } from "./dhcp-lab.ts";
import { testNetns, type TestNetns } from "./netns.ts";
import { plainEnv } from "./run.ts";
import { tempDir } from "./temp-dir.ts";

export interface DockerLab extends AsyncDisposable {
  readonly host: TestNetns;
  readonly dir: string;
  readonly socket: string;
  readonly heddle: HeddleBinary;
  /** The plugin's variables. */
  readonly env: Readonly<Record<string, string>>;
  /** Starts the plugin in the host's namespace and waits until it listens. */
  plugin(...args: readonly string[]): Promise<TestDaemon>;
  /** Calls as Docker does; the answer, whatever it says. */
  ask(path: string, request?: object): Promise<Record<string, unknown>>;
  /** As `ask`; throws if the answer is a failure. */
  call(path: string, request?: object): Promise<Record<string, unknown>>;
}

export async function dockerLab(): Promise<DockerLab> {
  await using stack = new AsyncDisposableStack();
  const heddle = stack.use(await heddleBinary());
  const dir = stack.use(tempDir("docker"));
  const host = stack.use(await testNetns());
  const socket = dir.in("plugins", "heddle.sock");
  const env = { ...plainEnv, HEDDLE_STATE_DIR: dir.in("state"), HEDDLE_RUN_DIR: dir.in("run") };
  const ask: DockerLab["ask"] = async (path, request) => {
    const response = await fetch(`http://plugin/${path}`, {
      unix: socket,
      method: "POST",
      headers: {
        Accept: "application/vnd.docker.plugins.v1.2+json",
        "Content-Type": "application/vnd.docker.plugins.v1.2+json",
      },
      ...(request === undefined ? {} : { body: JSON.stringify(request) }),
    });
    return (await response.json()) as Record<string, unknown>;
  };
  const owned = stack.move();
  return {
    host,
    dir: dir.path,
    socket,
    heddle,
    env,
    plugin: (...args) =>
      startDaemon(
        ["ip", "netns", "exec", host.name, heddle.at("heddle"), "docker-plugin", "--socket", socket, ...args],
        env,
      ),
    ask,
    async call(path, request) {
      const answer = await ask(path, request);
      const failure = answer["Err"] ?? answer["Error"];
      if (typeof failure === "string" && failure !== "") throw new Error(`${path}: ${failure}`);
      return answer;
    },
    [Symbol.asyncDispose]: async () => owned[Symbol.asyncDispose](),
  };
}
