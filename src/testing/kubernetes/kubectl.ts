/** The real kubectl, of Debian's sid: unpacked into the cache and not installed. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { unpackDebian } from "../../../scripts/debian.ts";
import { cacheDir } from "../../../scripts/paths.ts";
import { fetchedOr } from "../fetched.ts";
import type { TempDir } from "../temp-dir.ts";

/** Its path; undefined as `fetchedOr` says. */
export const kubectlProgram = (): Promise<string | undefined> =>
  fetchedOr("kubectl", async () => {
    const root = join(cacheDir("kubectl"), "tree");
    await unpackDebian(root, "sid", (apt) => apt.download(["kubectl"]));
    return join(root, "usr/bin/kubectl");
  });

export interface Said {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}
export interface Kubectl {
  /** Runs kubectl with these words. */
  (...words: readonly string[]): Promise<Said>;
  /** For one that is started otherwise. */
  readonly env: Readonly<Record<string, string>>;
}

/** Somebody's kubectl: his kubeconfig, and a home of his own in `dir`. */
export function kubectlOf(program: string, dir: TempDir, kubeconfig: string): Kubectl {
  const name = crypto.randomUUID();
  const path = dir.in(`${name}.conf`);
  writeFileSync(path, kubeconfig, { mode: 0o600 });
  const env = { HOME: dir.in(name), KUBECONFIG: path, PATH: "/usr/bin:/bin" };
  const run = async (...words: readonly string[]): Promise<Said> => {
    const child = Bun.spawn([program, ...words], { env, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    const [out, err, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { code, out, err };
  };
  return Object.assign(run, { env });
}
