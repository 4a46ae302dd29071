/** Plugin and daemon over a real Unix socket, whatever the daemon would do. */
import { describe, expect, test } from "bun:test";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { NetError } from "../errors.ts";
import { testWith } from "../testing/needs.ts";
import { tempDir, type TempDir } from "../testing/temp-dir.ts";
import { askDaemon, NotRunning } from "./client.ts";
import { HEARTBEAT, LINE_BYTES, type LeaseView, type Request } from "./protocol.ts";
import { openListener } from "../sys/unix-service.ts";
import { serveSocket } from "./server.ts";

const linuxTest = testWith({});
const ping: Request = { op: "ping" };

interface Running extends Disposable {
  readonly path: string;
  readonly log: readonly string[];
}
async function running(
  dir: TempDir,
  handle: (request: Request, gone: AbortSignal) => Promise<readonly LeaseView[]>,
): Promise<Running> {
  const path = dir.in("run/d.sock");
  const { listener, remove } = await openListener(path, undefined, "a daemon");
  const log: string[] = [];
  const server = serveSocket(listener, { handle, log: (line) => log.push(line) });
  return {
    path,
    log,
    [Symbol.dispose]: () => {
      server.stop();
      remove();
    },
  };
}
async function failure(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => expect.unreachable(),
    (e: unknown) => e,
  );
}
/** Writes this on a connection and reads until the other side ends it. */
async function raw(path: string, text: string): Promise<string> {
  const ended = Promise.withResolvers<string>();
  let got = "";
  let unsent: Uint8Array = Buffer.from(text);
  const flush = (s: { write(data: Uint8Array): number }): void => {
    unsent = unsent.subarray(Math.max(0, s.write(unsent)));
  };
  await Bun.connect({
    unix: path,
    socket: {
      open: flush,
      drain: flush,
      data: (_, bytes) => void (got += bytes.toString()),
      close: () => ended.resolve(got),
      error: () => ended.resolve(got),
    },
  });
  return ended.promise;
}

describe("the daemon's socket", () => {
  linuxTest("is for its owner alone, and goes with the daemon", async () => {
    using dir = tempDir("socket");
    const path = dir.in("run/d.sock");
    {
      using _ = await running(dir, async () => []);
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(statSync(dir.in("run")).mode & 0o777).toBe(0o700);
      expect(await askDaemon(path, ping)).toEqual([]);
    }
    expect(existsSync(path)).toBe(false);
    expect(await failure(askDaemon(path, ping))).toBeInstanceOf(NotRunning);
  });

  linuxTest("of a dead daemon is replaced, of a living one is not, and another file never", async () => {
    using dir = tempDir("socket");
    const path = dir.in("run/d.sock");
    // Closed without being removed, as by a kill.
    const dead = await openListener(path, undefined, "a daemon");
    dead.listener[Symbol.dispose]();
    expect(existsSync(path)).toBe(true);
    expect(String(await failure(askDaemon(path, ping)))).toContain("nobody listens");
    using _ = await running(dir, async () => []);
    expect(await askDaemon(path, ping)).toEqual([]);
    expect(await failure(openListener(path, undefined, "a daemon"))).toMatchObject({
      code: "resource/exists",
    });
    writeFileSync(dir.in("file"), "text");
    expect(await failure(openListener(dir.in("file"), undefined, "a daemon"))).toMatchObject({
      code: "resource/exists",
    });
  });

  linuxTest("serves many callers at once", async () => {
    using dir = tempDir("socket");
    using daemon = await running(dir, async () => []);
    const asked = Array.from({ length: 500 }, () => askDaemon(daemon.path, ping));
    expect((await Promise.all(asked)).length).toBe(500);
  });

  linuxTest("passes on what the daemon refuses with, as the same error", async () => {
    using dir = tempDir("socket");
    using daemon = await running(dir, () =>
      Promise.reject(new NetError("ipam/taken", { address: "10.0.0.1/8", owner: "a" })),
    );
    expect(await failure(askDaemon(daemon.path, ping))).toMatchObject({
      code: "ipam/taken",
      detail: { address: "10.0.0.1/8", owner: "a" },
    });
  });

  linuxTest("tells the daemon that a caller went away", async () => {
    using dir = tempDir("socket");
    const heard = Promise.withResolvers<void>();
    const began = Promise.withResolvers<void>();
    using daemon = await running(dir, async (_, gone) => {
      gone.addEventListener("abort", () => heard.resolve());
      began.resolve();
      await heard.promise;
      return [];
    });
    const socket = await Bun.connect({
      unix: daemon.path,
      socket: { open: (s) => void s.write('{"op":"ping"}\n'), data: () => {}, error: () => {} },
    });
    await began.promise;
    socket.terminate();
    await heard.promise;
  });

  linuxTest("answers a slow server's caller late, and a silent daemon's never", async () => {
    using dir = tempDir("socket");
    const path = dir.in("d.sock");
    using slow = Bun.listen({
      unix: path,
      socket: {
        data: (s) => {
          s.write(HEARTBEAT.slice(0, 5));
          s.write(`${HEARTBEAT.slice(5)}{"ok":true,"leases":[]}\n`);
        },
      },
    });
    expect(await askDaemon(path, ping)).toEqual([]);
    slow.stop(true);
  });

  linuxTest("that ends before it answers is a reason to try again", async () => {
    using dir = tempDir("socket");
    const path = dir.in("d.sock");
    using _ = Bun.listen({ unix: path, socket: { data: (s) => void s.end() } });
    expect(await failure(askDaemon(path, ping))).toMatchObject({ code: "try-again" });
  });

  test.each([
    ["no JSON", "hello\n"],
    ["no object", "[]\n"],
    ["an unknown request", '{"op":"sudo"}\n'],
    ["a request without its keys", '{"op":"release"}\n'],
    ["a key of another type", '{"op":"release","key":{"network":1,"containerId":"a","ifname":"b"}}\n'],
    [
      "an unknown family",
      '{"op":"acquire","key":{"network":"n","containerId":"a","ifname":"b"},"netns":{"path":"/x","dev":1,"ino":1},"client":{"id":"00","options":[],"request":[],"broadcast":false},"families":["ipx"]}\n',
    ],
    ["deep nesting", `${"[".repeat(5000)}\n`],
  ])("answers %s with an error and goes on", async (_, text) => {
    using dir = tempDir("socket");
    using daemon = await running(dir, async () => []);
    expect(JSON.parse(await raw(daemon.path, text))).toMatchObject({ ok: false, code: "decode/malformed" });
    expect(await askDaemon(daemon.path, ping)).toEqual([]);
  });

  linuxTest("cuts off who says too much", async () => {
    using dir = tempDir("socket");
    using daemon = await running(dir, async () => []);
    expect(await raw(daemon.path, "x".repeat(LINE_BYTES + 1))).toBe("");
    expect(await askDaemon(daemon.path, ping)).toEqual([]);
  });
});
