/** What docs/lab.md tells newcomers to type runs as it stands and prints what the page says. */
import { expect } from "bun:test";
import { projectDir } from "../../scripts/paths.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { blocksOf, runBlocks } from "../blocks.ts";

const heddle = heddleOfFile();
const LIMIT_MS = 60_000;

testWith({ root: true, programs: ["ip", "unshare", "bash"] })(
  "the commands of the lab's manual run as they stand and print what it says",
  async () => {
    const blocks = blocksOf(await Bun.file(`${projectDir}/docs/lab.md`).text());
    expect(blocks.length).toBeGreaterThanOrEqual(4);
    await runBlocks(blocks, LIMIT_MS, [heddle.cniPath]);
  },
  LIMIT_MS,
);
