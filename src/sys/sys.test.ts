import { describe, expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, statSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { NetError } from "../errors.ts";
import { openDescriptors, strayThreads } from "../testing/census.ts";
import { kernelTest } from "../testing/needs.ts";
import { testNetns } from "../testing/netns.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { errnoName } from "./errno.ts";
import { Fd } from "./fd.ts";
import { makeDirs, readText } from "./files.ts";
import { lockFile, tryLockFile } from "./flock.ts";
import { call, tryCall } from "./libc.ts";
import { inNetns, openNetns, tryOpenNetns } from "./netns.ts";
import { readSysctl, sameSysctlValue, writeSysctl } from "./sysctl.ts";

const own = "/proc/self/ns/net";
const open = (): number => openSync(own, "r");

describe("Fd", () => {
  test("closes at the end of its block, once", () => {
    const before = openDescriptors().size;
    {
      using fd = new Fd(open());
      expect(openDescriptors().size).toBe(before + 1);
      fd[Symbol.dispose]();
      fd[Symbol.dispose]();
    }
    expect(openDescriptors().size).toBe(before);
  });

  test("throws when it is used after close", () => {
    const fd = new Fd(open());
    fd[Symbol.dispose]();
    expect(() => fd.raw).toThrow("after close");
  });

  test("does not close what was released", () => {
    const raw = new Fd(open()).release();
    expect(() => closeSync(raw)).not.toThrow();
  });
});

describe("system calls", () => {
  test("fail with the name of the error", () => {
    expect(tryCall((libc) => libc.close(999_999))).toBe("EBADF");
    expect(() => call("close", "nothing", (libc) => libc.close(999_999))).toThrow(
      new NetError("sys/call", { call: "close", on: "nothing", errno: "EBADF" }),
    );
  });

  test("a number without a name keeps its number, and the kernel's ENOTSUPP is not EOPNOTSUPP", () => {
    expect([errnoName(1), errnoName(95), errnoName(524), errnoName(4095)]).toEqual([
      "EPERM",
      "EOPNOTSUPP",
      "ENOTSUPP",
      "E4095",
    ]);
  });

  // The engine may move or free the memory behind an address once the caller is compiled: a short loop never shows it.
  test("give memory back right when they are called so often that the caller is compiled", () => {
    const SOL_SOCKET = 1;
    const SO_RCVBUF = 8;
    using socket = new Fd(call("socket", "netlink", (libc) => libc.socket(16, 3 | 0o2000000, 0)));
    let wrong = 0;
    for (let i = 0; i < 120_000; i++) {
      const wanted = 4096 + (i % 7) * 1024;
      const value = Uint32Array.of(wanted);
      const size = Uint32Array.of(4);
      tryCall((libc) => libc.setsockopt(socket.raw, SOL_SOCKET, SO_RCVBUF, value, value));
      const read = new Uint32Array(new ArrayBuffer(4));
      tryCall((libc) => libc.getsockopt(socket.raw, SOL_SOCKET, SO_RCVBUF, read, size));
      // The kernel doubles what is asked for (socket(7)).
      if (read[0] !== wanted * 2) wrong++;
      if (i % 20_000 === 0) Bun.gc(true);
    }
    expect(wrong).toBe(0);
  });

  test("read errno right when they are called so often that the caller is compiled", () => {
    let wrong = 0;
    for (let i = 0; i < 120_000; i++) if (tryCall((libc) => libc.close(999_999)) !== "EBADF") wrong++;
    expect(wrong).toBe(0);
  });
});

describe("makeDirs", () => {
  test("makes what is missing of a path, and nothing of one that is there", () => {
    using dir = tempDir("dirs");
    makeDirs(dir.in("a/b/c"), 0o700);
    makeDirs(dir.in("a/b/c"), 0o755);
    expect(statSync(dir.in("a/b/c")).mode & 0o777).toBe(0o700);
  });

  test("says what the kernel says where nothing can be made, and where a file is in the way", () => {
    using dir = tempDir("dirs");
    writeFileSync(dir.in("file"), "");
    expect(() => makeDirs("/proc/heddle/run", 0o700)).toThrow(/mkdir \/proc\/heddle: ENOENT/);
    expect(() => makeDirs(dir.in("file"), 0o700)).toThrow(/EEXIST/);
    expect(() => makeDirs(dir.in("file/below"), 0o700)).toThrow(/ENOTDIR/);
  });
});

describe("lockFile", () => {
  const path = `${tmpdir()}/heddle-lock-${process.pid}`;

  test("keeps a second one out until it is given back", () => {
    {
      using _lock = lockFile(path, "exclusive");
      expect(tryLockFile(path)).toBeUndefined();
    }
    using again = tryLockFile(path);
    expect(again).toBeDefined();
    unlinkSync(path);
  });

  test("locks the file that is there now, not one that was removed while it waited", async () => {
    const held = lockFile(path, "exclusive");
    const waiter = Bun.spawn(
      [
        process.execPath,
        "-e",
        `const { lockFile } = await import(${JSON.stringify(new URL("./flock.ts", import.meta.url).pathname)});
         const { statSync } = await import("node:fs");
         process.stdout.write("waiting\\n");
         using lock = lockFile(${JSON.stringify(path)}, "exclusive");
         process.stdout.write(String(statSync(${JSON.stringify(path)}).ino));`,
      ],
      { stdout: "pipe", stderr: "inherit" },
    );
    const reader = waiter.stdout.getReader();
    await reader.read();
    await untilBlocked(waiter.pid);
    unlinkSync(path);
    using fresh = lockFile(path, "exclusive");
    held[Symbol.dispose]();
    const inode = String((await import("node:fs")).fstatSync(fresh.fd).ino);
    fresh[Symbol.dispose]();
    const rest = await reader.read();
    expect(new TextDecoder().decode(rest.value)).toBe(inode);
    expect(await waiter.exited).toBe(0);
    unlinkSync(path);
  });
});

/** Until the process waits for a file lock, as the kernel's own list says. */
async function untilBlocked(pid: number): Promise<void> {
  while (
    !readFileSync("/proc/locks", "utf8")
      .split("\n")
      .some((l) => l.includes("->") && l.includes(` ${pid} `))
  )
    await Bun.sleep(1);
}

describe("readText", () => {
  test("does not wait at a pipe, whether somebody could write to it or not", () => {
    using dir = tempDir("fifo");
    expect(Bun.spawnSync(["mkfifo", dir.in("fifo")]).exitCode).toBe(0);
    expect(() => readText(dir.in("fifo"))).toThrow("is not a file");
    const writer = openSync(dir.in("fifo"), "r+");
    expect(() => readText(dir.in("fifo"))).toThrow("is not a file");
    closeSync(writer);
  });

  test("ends where nothing else ends it, and says the limit", () => {
    expect(() => readText("/dev/zero", 0, 100_000)).toThrow("/dev/zero: larger than 100000 bytes");
    expect(readText("/dev/null")).toBe("");
  });
});

describe("openNetns", () => {
  test("does not wait at a FIFO, which nobody writes to", () => {
    using dir = tempDir("fifo");
    const { exitCode } = Bun.spawnSync(["mkfifo", dir.in("fifo")]);
    expect(exitCode).toBe(0);
    expect(() => openNetns(dir.in("fifo"))).toThrow("is not a network namespace");
  });

  test("a removal takes no namespace for none, and another failure for one", () => {
    using dir = tempDir("netns");
    writeFileSync(dir.in("file"), "");
    symlinkSync(dir.in("loop"), dir.in("loop"));
    expect(tryOpenNetns(dir.in("file"))).toBeUndefined();
    expect(tryOpenNetns(dir.in("none"))).toBeUndefined();
    expect(tryOpenNetns(dir.in("file/below"))).toBeUndefined();
    expect(() => tryOpenNetns(dir.in("loop"))).toThrow("ELOOP");
  });

  test("says what is wrong with a path that is no namespace", () => {
    expect(() => openNetns("/nonexistent")).toThrow("/nonexistent: there is no such network namespace");
    expect(() => openNetns("/etc/hostname")).toThrow("/etc/hostname: is not a network namespace");
    expect(() => openNetns("/")).toThrow("is not a network namespace");
  });

  test("leaves no descriptor open when it fails", () => {
    const before = openDescriptors().size;
    for (const path of ["/nonexistent", "/etc/hostname"]) expect(() => openNetns(path)).toThrow();
    expect(openDescriptors().size).toBe(before);
  });
});

describe("inNetns", () => {
  kernelTest("works inside and comes back, also after a failure, and leaves no thread behind", async () => {
    await using other = await testNetns();
    using netns = openNetns(other.path);
    const home = readFileSync("/proc/self/net/dev", "utf8");
    const links = inNetns(netns, () => readFileSync("/proc/thread-self/net/dev", "utf8"));
    expect(links.trim().split("\n").length).toBe(3);
    expect(() =>
      inNetns(netns, () => {
        throw new Error("inside");
      }),
    ).toThrow("inside");
    expect(readFileSync("/proc/self/net/dev", "utf8").split("\n").length).toBe(home.split("\n").length);
    expect(strayThreads()).toEqual([]);
  });

  kernelTest("refuses a namespace of another kind, and to nest", async () => {
    await using other = await testNetns();
    using mount = openNetns("/proc/self/ns/mnt");
    expect(() => inNetns(mount, () => 0)).toThrow("is not a network namespace");
    using netns = openNetns(other.path);
    expect(() => inNetns(netns, () => inNetns(netns, () => 0))).toThrow("does not nest");
  });
});

describe("sysctl", () => {
  kernelTest("reads and writes the parameters of the namespace the thread is in", async () => {
    await using other = await testNetns();
    using netns = openNetns(other.path);
    const before = readSysctl("net/ipv4/ip_forward");
    inNetns(netns, () => writeSysctl("net/ipv4/ip_forward", "1"));
    expect(inNetns(netns, () => readSysctl("net/ipv4/ip_forward"))).toBe("1");
    expect(readSysctl("net/ipv4/ip_forward")).toBe(before);
  });

  test("a parameter the kernel does not have is undefined, and a path cannot leave /proc/sys", () => {
    expect(readSysctl("net/ipv4/nothing")).toBeUndefined();
    expect(() => readSysctl("net/../../etc/passwd")).toThrow(RangeError);
  });

  test.each([
    ["2000\t3000", "2000 3000"],
    ["291", "0x123"],
    ["8", "010"],
    ["-1", "-1 "],
    ["cubic", "cubic"],
  ])("shows %j for what was written as %j", (found, written) => {
    expect(sameSysctlValue(found, written)).toBe(true);
  });
  test.each([
    ["1", "0"],
    ["2000\t3000", "2000"],
    ["2000\t3001", "2000 3000"],
    ["10", "010"],
    ["9", "09"],
    ["cubic", "reno"],
    [undefined, ""],
  ])("does not show %j for what was written as %j", (found, written) => {
    expect(sameSysctlValue(found, written)).toBe(false);
  });
});
