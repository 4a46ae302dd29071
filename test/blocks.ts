/**
 * Commands of the manual: blocks marked `<!-- run -->` run as they stand, in the order of the page, on a private host, and
 * print what the page says behind them.
 */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { projectDir } from "../scripts/paths.ts";
import { plainEnv, run } from "../src/testing/run.ts";
import { tempDir } from "../src/testing/temp-dir.ts";

export interface Block {
  readonly commands: string;
  /** What the page says that they print, if it does. */
  readonly output: string | undefined;
}
const BLOCK = /^<!-- run -->\n\n```sh\n([^]*?)^```\n(?:\n```text\n([^]*?)^```\n)?/gm;

export const blocksOf = (page: string): readonly Block[] =>
  [...page.matchAll(BLOCK)].map(([, commands = "", output]) => ({ commands, output }));

/** A slow answer, and a long address, widen a whole column of a table of pings. */
const narrow = (line: string): string => (/ TIME|, ms /.test(line) ? line.replaceAll(/ +/g, " ") : line);

/**
 * MAC addresses, and the subnets that Flannel gives, are random, ages and times are what they are; every other character of
 * an output is as on the page.
 */
const comparable = (text: string): string =>
  text
    .replaceAll(/\b\d+s( ago| +ok)\b/g, "0s$1")
    .replaceAll(/(?:[0-9a-f]{2}:){5}[0-9a-f]{2}/g, "MAC")
    .replaceAll(/(?<= )\d+\.\d\d?(?= |$)/gm, "TIME")
    .replaceAll(/(?<=^\d+ +host\d+\/c\d+ +)10\.244\.\d+\.2\b/gm, "ADDRESS")
    .replaceAll(/ +$/gm, "")
    .split("\n")
    .map(narrow)
    .join("\n")
    .trim();

/** A program on a host that is made for it and goes with it. */
export const onPrivateHost = (...argv: readonly string[]): readonly string[] => [
  ...["unshare", "--net", "--mount", "--", process.execPath],
  ...[`${import.meta.dir}/private-host.ts`, "plain", ...argv],
];

/** Runs the blocks in one shell; `first` directories come before others in `PATH`. */
export async function runBlocks(
  blocks: readonly Block[],
  timeoutMs: number,
  first: readonly string[] = [],
): Promise<void> {
  const end = (i: number): string => `--- end of block ${i} ---`;
  const script = blocks.map(({ commands }, i) => `${commands}echo; echo '${end(i)}'\n`).join("");
  using dir = tempDir("blocks");
  writeFileSync(dir.in("blocks.sh"), `set -eu\n${script}`);
  const path = [
    ...first,
    `${projectDir}/node_modules/.bin`,
    process.env["PATH"] ?? plainEnv["PATH"] ?? "",
  ].join(":");
  const { code, stdout, stderr } = await run(onPrivateHost("bash", dir.in("blocks.sh")), {
    cwd: projectDir,
    env: { ...plainEnv, PATH: path, HOME: dir.path },
    timeoutMs,
    mustSucceed: false,
  });
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  let rest = stdout;
  for (const [i, { output }] of blocks.entries()) {
    const [printed = "", after = ""] = rest.split(end(i), 2);
    rest = after;
    if (output !== undefined) expect(comparable(printed)).toBe(comparable(output));
  }
}
