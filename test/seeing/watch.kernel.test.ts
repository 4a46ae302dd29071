/** `heddle watch` on a host of its own: attachments that come, go and change are told by themselves, and nothing else is. */
import { describe, expect } from "bun:test";
import { join } from "node:path";
import { existsSync } from "node:fs";
import type { Change } from "../../src/cli/watch/changes.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { type LineLog, lineLog } from "../../src/testing/line-log.ts";
import { testWith } from "../../src/testing/needs.ts";
import { testNetns } from "../../src/testing/netns.ts";
import { plainEnv } from "../../src/testing/run.ts";
import { seeingSite, type Site } from "./site.ts";

const heddle = heddleOfFile();
const hostTest = testWith({ root: true, programs: ["ip", "nft", "nsenter", "unshare"] });

/** It spares a busy machine, and waits ten times as long as its last look took. */
const PATIENCE_MS = 60_000;
const LIMIT_MS = 3 * PATIENCE_MS;

interface Watching extends AsyncDisposable {
  readonly child: Bun.Subprocess<"ignore", "pipe", "inherit">;
  readonly log: LineLog;
  /** The next change that fits. */
  change(event: Change["event"], state: string): Promise<Change>;
}

function watching(site: Site, ...more: readonly string[]): Watching {
  const { pid, dir } = site.host;
  const enter = ["nsenter", `--target=${pid}`, "--net", "--mount", "--"];
  const env = { ...plainEnv, HEDDLE_RUN_DIR: join(dir, "run") };
  const child = Bun.spawn([...enter, heddle.at("heddle"), "watch", ...more], {
    env,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const log = lineLog(child.stdout);
  let seen = 0;
  return {
    child,
    log,
    change: async (event, state) => {
      const line = await log.line((text, at) => {
        if (at < seen) return false;
        const { event: e, attachment } = JSON.parse(text) as Change;
        return e === event && attachment.state === state;
      }, PATIENCE_MS);
      seen = log.lines().lastIndexOf(line) + 1;
      return JSON.parse(line) as Change;
    },
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  };
}

describe("heddle watch", () => {
  hostTest(
    "tells what is there, what comes, what breaks and is mended, and what goes",
    async () => {
      await using site = await seeingSite(heddle);
      const there = await site.attach("point");
      await using w = watching(site, "--json");
      expect(await w.change("present", "ok")).toMatchObject({
        before: null,
        attachment: { netns: there.path },
      });
      {
        await using netns = await testNetns();
        await site.attach("web", { to: netns });
        expect((await w.change("attached", "ok")).attachment).toMatchObject({
          network: "web",
          addresses: ["10.88.0.2/24"],
        });
        await site.host.exec(["nft", "flush", "ruleset"]);
        expect(await w.change("changed", "broken")).toMatchObject({ before: "ok" });
        expect((await site.heddle("reload")).code).toBe(0);
        expect(await w.change("changed", "ok")).toMatchObject({ before: "broken" });
      }
      // The kernel tells of the pair, the file system of the namespace.
      expect((await w.change("changed", "dead")).attachment.why).toEndWith("is gone");
      expect((await site.heddle("gc")).code).toBe(0);
      expect((await w.change("detached", "dead")).attachment.network).toBe("web");
      expect(existsSync(there.path)).toBe(true);
    },
    LIMIT_MS,
  );

  hostTest(
    "looks at one network alone, in words, and ends by a signal without a word more",
    async () => {
      await using site = await seeingSite(heddle);
      await using w = watching(site, "--network", "lanes");
      await site.attach("point");
      // Attached or present: when it has begun to watch is not known before it speaks.
      await site.attach("lanes");
      await w.log.line((text) => text.includes("10.95.0.16/24"), PATIENCE_MS);
      const lanes = await site.attach("lanes");
      const line = await w.log.line((text) => text.includes("10.95.0.17/24"), PATIENCE_MS);
      expect(line).toMatch(
        /^\d\d:\d\d:\d\d {2}attached {2}[0-9a-f]{12} {2}eth0 of cnitool-\S+ on lanes: 10\.95\.0\.17\/24$/,
      );
      expect((await site.heddle("cni", "del", "lanes", lanes.path)).code).toBe(0);
      await w.log.line((text) => text.includes("detached"), PATIENCE_MS);
      w.child.kill("SIGTERM");
      expect(await w.child.exited).toBe(0);
      expect(w.log.lines()).toHaveLength(3);
    },
    LIMIT_MS,
  );
});
