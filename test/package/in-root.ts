/**
 * Makes the directory ROOT the root of the namespaces that this process was started in, and runs programs there, one after the
 * other: `in-root.ts ROOT`, with a list of lists of arguments in JSON on standard input. Prints what became of each, as JSON.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { command } from "../../scripts/command.ts";
import { mountBind, mountNew } from "../../src/sys/mounts.ts";
import { type Outcome, run } from "../../src/testing/run.ts";

const [root = ""] = process.argv.slice(2);
const argvs = (await Bun.stdin.json()) as readonly (readonly string[])[];
for (const dir of ["dev", "etc", "proc", "sys", "run", "tmp", "var/lib", "before"])
  mkdirSync(join(root, dir), { recursive: true });
mountBind(root, root, { recursive: true });
mountBind("/dev", join(root, "dev"), { recursive: true });
mountBind("/proc", join(root, "proc"), { recursive: true });
mountNew("sysfs", join(root, "sys"));
for (const dir of ["run", "tmp", "var/lib"]) mountNew("tmpfs", join(root, dir), "mode=755");
await command(["pivot_root", root, join(root, "before")]);
const outcomes: Outcome[] = [];
for (const argv of argvs)
  outcomes.push(await run(argv, { cwd: "/", env: { PATH: "/bin" }, timeoutMs: 60_000, mustSucceed: false }));
console.log(JSON.stringify(outcomes));
