/** Runs one program for a script and gives what it printed. No shell, and what it says on failure is kept. */

export interface CommandOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** The program's standard output. @throws with both outputs if it ends with another code than 0 */
export async function command(argv: readonly string[], options: CommandOptions = {}): Promise<string> {
  const child = Bun.spawn([...argv], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`${argv.join(" ")} ended with ${code}\n${stderr}${stdout}`.trimEnd());
  return stdout;
}
