import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JSON_TEXT_LIMIT } from "./json.ts";

let dir: string;
let script: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "heddle-executable-"));
  script = join(dir, "plugin.ts");
  const here = import.meta.dir;
  writeFileSync(
    script,
    `import { runAsExecutable } from ${JSON.stringify(join(here, "executable.ts"))};
    import { emptyHost } from ${JSON.stringify(join(here, "host.ts"))};
    const plugin = {
      type: "big", about: "a plugin with a long answer", options: [], parse: (conf) => conf.raw,
      async add({ config, log }) {
        log("a warning");
        return { interfaces: [], ips: [], routes: [], dns: { search: Array(config.lines).fill("x".repeat(100)) } };
      },
      async del() {},
    };
    await runAsExecutable(plugin, emptyHost);`,
  );
});
afterAll(() => {
  rmSync(dir, { recursive: true, force: true });
});

const conf = (more: Record<string, unknown>) =>
  JSON.stringify({ cniVersion: "1.0.0", name: "n", type: "big", ...more });
const start = <In extends "pipe" | "ignore" | Blob>(stdin: In, command = "ADD") =>
  Bun.spawn([process.execPath, script], {
    env: { ...process.env, CNI_COMMAND: command, CNI_CONTAINERID: "c", CNI_IFNAME: "eth0", CNI_NETNS: "/x" },
    stdin,
    stdout: "pipe",
    stderr: "pipe",
  });

describe("a plugin as a process", () => {
  test("prints an answer that is larger than a pipe, whole, to a reader that is slow", async () => {
    const child = start(new Blob([conf({ lines: 5000 })]));
    let text = "";
    let turns = 0;
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) {
      text += decoder.decode(chunk, { stream: true });
      if (turns++ < 5) await new Promise((resolve) => setImmediate(resolve));
    }
    expect((JSON.parse(text) as { dns: { search: unknown[] } }).dns.search).toHaveLength(5000);
    expect(await child.exited).toBe(0);
    expect(await new Response(child.stderr).text()).toBe("a warning\n");
  });

  test("reads a configuration that comes in pieces", async () => {
    const child = start("pipe");
    const whole = conf({ lines: 1, padding: "y".repeat(200_000) });
    for (const part of [whole.slice(0, 10), whole.slice(10, 100_000), whole.slice(100_000)]) {
      await child.stdin.write(part);
      await child.stdin.flush();
    }
    await child.stdin.end();
    expect(await new Response(child.stdout).json()).toMatchObject({ cniVersion: "1.0.0" });
    expect(await child.exited).toBe(0);
  });

  test("stops reading a configuration without end and exits with code 1", async () => {
    const child = start(new Blob([" ".repeat(2 * JSON_TEXT_LIMIT)]));
    expect(await new Response(child.stdout).json()).toMatchObject({ code: 6 });
    expect(await child.exited).toBe(1);
  });

  test("without a command introduces itself and exits with code 0", async () => {
    const child = start("ignore", "");
    expect(await new Response(child.stderr).text()).toStartWith("a plugin with a long answer\n");
    expect(await new Response(child.stdout).text()).toBe("");
    expect(await child.exited).toBe(0);
  });

  test("answers VERSION although nobody closes its standard input", async () => {
    const child = start("pipe", "VERSION");
    expect(await new Response(child.stdout).json()).toMatchObject({ cniVersion: "1.1.0" });
    expect(await child.exited).toBe(0);
  });

  test("ends with code 1 when nobody reads its answer", async () => {
    const child = start("pipe");
    await child.stdout.cancel();
    await child.stdin.write(conf({ lines: 5000 }));
    await child.stdin.end();
    expect(await child.exited).toBe(1);
  });
});
