/**
 * Tests that run, as a whole, inside of a network namespace: the file starts itself there with the test runner, since a
 * process that lives on must not enter one. On the loopback of that namespace a test may listen where it likes.
 */
import { kernelTest } from "./needs.ts";
import { testNetns } from "./netns.ts";
import { plainEnv } from "./run.ts";
import { patience } from "./slowdown.ts";

const INSIDE = "HEDDLE_TEST_INSIDE";

/**
 * Defines `tests` when the file runs inside, and else one test that runs the file there. `prepare` runs before, outside;
 * false: there is nothing to run with, and it has said why.
 */
export function insideNetns(
  file: string,
  options: { readonly title: string; readonly prepare: () => Promise<boolean>; readonly timeoutMs: number },
  tests: () => void,
): void {
  if (process.env[INSIDE] === file) return tests();
  const timeoutMs = patience(options.timeoutMs);
  kernelTest(
    options.title,
    async () => {
      if (!(await options.prepare())) return;
      await using netns = await testNetns();
      const ours = Object.entries(process.env).filter(([name]) => name.startsWith("HEDDLE_"));
      const env = {
        ...plainEnv,
        ...Object.fromEntries(ours.map(([n, value]) => [n, value ?? ""])),
        [INSIDE]: file,
      };
      const argv = [process.execPath, "test", "--isolate", `--timeout=${patience(30_000)}`, file];
      const { code, stdout, stderr } = await netns.exec(argv, { env, timeoutMs, mustSucceed: false });
      if (code !== 0) throw new Error(`inside of the namespace:\n${stdout}${stderr}`);
    },
    timeoutMs,
  );
}
