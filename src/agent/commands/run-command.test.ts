import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { tempDir } from "../../testing/temp-dir.ts";
import { type CommandLimits, LIMITS, OUTPUT_LIMIT, type Ran, runCommand } from "./run-command.ts";

interface Wish {
  readonly stdin?: string;
  readonly limits?: Partial<CommandLimits>;
  readonly signal?: AbortSignal;
}
async function run(argv: readonly string[], { stdin = "\n", limits = {}, signal }: Wish = {}) {
  const heard: string[] = [];
  const ran: Ran = await runCommand(
    {
      argv,
      env: { SUBNET: "10.244.2.0/24" },
      stdin,
      signal: signal ?? new AbortController().signal,
      started: () => {},
      heard: (line, from) => heard.push(`${from}: ${line}`),
    },
    { ...LIMITS, ...limits },
  );
  return { ran, heard };
}
/** Its parent may not have waited for it. */
function isAlive(pid: string | number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z");
  } catch {
    return false;
  }
}
const script = (text: string): readonly string[] => ["/bin/sh", "-c", text];

describe("a command", () => {
  test("has its words, its input and its variables, and nothing else of the agent", async () => {
    process.env["HEDDLE_SECRET"] = "x";
    const { ran, heard } = await run(
      script('echo "$0 $1"; cat; env | grep -v ^PWD= | sort; pwd; ls /proc/self/fd | wc -l'),
      {
        stdin: "a 'line'\n",
      },
    );
    delete process.env["HEDDLE_SECRET"];
    const [words, input, path, subnet, at, descriptors] = ran.ok ? ran.stdout.split("\n") : [];
    expect([words, input, subnet, at]).toEqual(["/bin/sh ", "a 'line'", "SUBNET=10.244.2.0/24", "/"]);
    expect(path).toStartWith("PATH=");
    // 0 to 2, and the directory that is being listed.
    expect(descriptors).toBe("4");
    expect(heard[1]).toBe("stdout: a 'line'");
  });

  test("tells both of its outputs apart, and only what it printed is its result", async () => {
    const { ran, heard } = await run(script("echo out; echo err >&2"));
    expect(ran).toEqual({ ok: true, stdout: "out\n" });
    expect(heard.toSorted()).toEqual(["stderr: err", "stdout: out"]);
  });

  test.each([
    ["exit code 3: no such route", script("echo no such route >&2; exit 3")],
    ["exit code 3: why", script("echo why >&2; echo done; exit 3")],
    ["exit code 1: no", script("echo no; exit 1")],
    ["exit code 1", ["false"]],
    ["ended by SIGTERM", script("kill -TERM $$")],
    ["there is no program heddle-none", ["heddle-none"]],
    ["/etc/passwd cannot be started: EACCES", ["/etc/passwd"]],
  ])("that fails says %s", async (why, argv) => {
    expect((await run(argv)).ran).toEqual({ ok: false, why });
  });

  test("that reads nothing is not waited for", async () => {
    expect((await run(["true"], { stdin: "x".repeat(1_000_000) })).ran).toMatchObject({ ok: true });
  });

  test("that does not end is ended with all that it has started", async () => {
    using dir = tempDir("command");
    const argv = script(`sleep 1000 & echo $! > ${dir.in("pid")}; wait`);
    const { ran } = await run(argv, { limits: { limitMs: 200 } });
    expect(ran).toEqual({ ok: false, why: "was not done after 200 ms" });
    const pid = readFileSync(dir.in("pid"), "utf8").trim();
    while (isAlive(pid)) await Bun.sleep(1);
  });

  test("that cannot be noted is not left running", async () => {
    let pid = 0;
    const running = runCommand({
      argv: ["sleep", "1000"],
      env: {},
      stdin: "",
      signal: new AbortController().signal,
      started: (group) => {
        pid = group.pid;
        throw new Error("no space left on device");
      },
      heard: () => {},
    });
    expect(await running.catch(String)).toBe("Error: no space left on device");
    while (isAlive(pid)) await Bun.sleep(1);
  });

  test("that leaves somebody behind with its output has ended", async () => {
    const { ran } = await run(script("sleep 1000 & echo $!"), { limits: { graceMs: 50 } });
    if (!ran.ok) throw new Error(ran.why);
    process.kill(Number(ran.stdout), "SIGKILL");
  });

  test("that prints too much is ended", async () => {
    const { ran } = await run(["yes"]);
    expect(ran).toEqual({ ok: false, why: `printed more than ${OUTPUT_LIMIT} bytes` });
  });

  test("is heard up to a bound", async () => {
    const { heard } = await run(script(`yes x | head -n 200; printf %01000d 0`));
    expect(heard).toHaveLength(101);
    expect(heard.at(-1)).toBe("stdout: and 101 more lines");
    expect((await run(script("printf %01000d 0"))).heard[0]).toHaveLength("stdout: ".length + 500);
  });

  test("ends with the agent, and is not begun after it", async () => {
    const ending = new AbortController();
    const running = run(["sleep", "1000"], { signal: ending.signal });
    ending.abort();
    expect((await running).ran).toEqual({ ok: false, why: "ended with the agent" });
    expect((await run(["true"], { signal: ending.signal })).ran.ok).toBe(false);
  });
});
