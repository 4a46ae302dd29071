/** What the words mean that netavark and Podman call a plugin with, from standard input to what is printed and the exit code. */
import { version } from "../build-info.ts";
import { anyObject, decodeAs, type JsonObject, parseJson } from "../cni/json.ts";
import type { Result } from "../cni/result.ts";
import { failureText } from "../docker/failure.ts";
import { fromSystem, NetError } from "../errors.ts";
import { createNetwork, type HostView } from "./create.ts";
import { readConnection, readConnectionKey } from "./decode.ts";
import type { Connection } from "./model.ts";
import { statusOf } from "./status.ts";
import type { NetavarkWord } from "./words.ts";

/** The version of the protocol, the only one so far. */
const API_VERSION = "1.0.0";

/** Who is disconnected: all that `teardown` depends on. */
export interface ConnectionKey {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
}

/** What the calls do in the system. */
export interface Work extends HostView {
  setup(connection: Connection, netns: string): Promise<Result>;
  /** `connection` is absent if what came with the key cannot be read any more. */
  teardown(key: ConnectionKey, netns: string, connection: Connection | undefined): Promise<void>;
}

export interface Answer {
  readonly code: 0 | 1;
  readonly stdout: string;
  /** Of a call that failed, and whom it was about if that was understood. */
  readonly failure?: unknown;
  readonly about?: ConnectionKey;
}

/** Answers one call. Never rejects: a failure is netavark's error object and code 1. */
export async function answer(
  word: NetavarkWord,
  netns: string | undefined,
  stdin: () => string,
  work: Work,
): Promise<Answer> {
  let about: ConnectionKey | undefined;
  try {
    if (word === "info") return printed({ version, api_version: API_VERSION });
    const input = anyInput(parseJson(stdin(), "standard input"));
    if (word === "create") return printed(createNetwork(input, work));
    if (netns === undefined || !netns.startsWith("/"))
      throw new NetError("usage/invalid", { why: `${word} needs the absolute path of a network namespace` });
    about = readConnectionKey(input, "");
    if (word === "setup") {
      const connection = readConnection(input, "");
      return { ...printed(statusOf(connection, await work.setup(connection, netns))), about };
    }
    await work.teardown(about, netns, asFarAsRead(input));
    return { code: 0, stdout: "", about };
  } catch (e) {
    const failure = fromSystem(e);
    const stdout = `${JSON.stringify({ error: failureText(failure) })}\n`;
    return { code: 1, stdout, failure, ...(about ? { about } : {}) };
  }
}

const anyInput = (value: unknown): JsonObject => decodeAs("standard input", anyObject, value);
const printed = (value: JsonObject): Answer => ({ code: 0, stdout: `${JSON.stringify(value)}\n` });

function asFarAsRead(input: JsonObject): Connection | undefined {
  try {
    return readConnection(input, "");
  } catch (e) {
    if (e instanceof NetError) return undefined;
    throw e;
  }
}
