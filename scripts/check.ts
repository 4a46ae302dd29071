/**
 * Everything that can be said about the sources without running them: types, lint, format, unused code, and the
 * project's own rules (src/tidy.test.ts). The steps run at the same time; a failed one prints what it found.
 */
import { inProject, projectDir } from "./paths.ts";

const tool = (name: string): string => inProject("node_modules/.bin", name);

const steps: Readonly<Record<string, readonly string[]>> = {
  types: [process.execPath, "check", "--no-script"],
  lint: [tool("oxlint"), "--type-aware", "--deny-warnings", "src", "test", "bench", "scripts"],
  format: [process.execPath, "fmt", "--check", "--no-script"],
  "unused code": [tool("knip"), "--no-progress", "--treat-config-hints-as-errors"],
  tidy: [process.execPath, "test", "./src/tidy.test.ts"],
};

/** Runs every step and prints a line for each. Returns the names of those that failed. */
export async function check(): Promise<readonly string[]> {
  const outcomes = await Promise.all(
    Object.entries(steps).map(async ([name, argv]) => {
      const started = performance.now();
      const child = Bun.spawn([...argv], {
        cwd: projectDir,
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
      });
      const [stdout, stderr, code] = await Promise.all([
        child.stdout.text(),
        child.stderr.text(),
        child.exited,
      ]);
      const seconds = ((performance.now() - started) / 1e3).toFixed(1);
      console.log(`check: ${name.padEnd(12)} ${code === 0 ? "ok" : "FAILED"} (${seconds} s)`);
      return { name, ok: code === 0, output: `${stdout}${stderr}`.trim() };
    }),
  );
  const failed = outcomes.filter(({ ok }) => !ok);
  for (const { name, output } of failed) console.log(`\n--- ${name}\n${output}`);
  return failed.map(({ name }) => name);
}

if (import.meta.main) {
  const failed = await check();
  if (failed.length > 0) process.exitCode = 1;
}
