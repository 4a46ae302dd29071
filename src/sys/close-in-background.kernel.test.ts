import { expect } from "bun:test";
import { openDescriptors } from "../testing/census.ts";
import { kernelTest } from "../testing/needs.ts";
import { type TestNetns, testNetns } from "../testing/netns.ts";
import { patience } from "../testing/slowdown.ts";
import { closeInBackground } from "./close-in-background.ts";
import { Fd } from "./fd.ts";
import { call } from "./libc.ts";
import { inNetns, openNetns } from "./netns.ts";

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const NETLINK_NETFILTER = 12;
/** Often enough that the caller is compiled. */
const TIMES = 20_000;
const LIMIT_MS = 20_000;
const LOOK_MS = 20;

/** A socket with a number of the kernel's choice, so that the kernel lists it. */
function boundSocket(): Fd {
  const fd = new Fd(
    call("socket", "netlink", (libc) => libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)),
  );
  const address = new Uint8Array(new ArrayBuffer(12));
  address[0] = AF_NETLINK;
  call("bind", "netlink", (libc) => libc.bind(fd.raw, address, address));
  return fd;
}

/** How many netfilter sockets the namespace has, the kernel's own included. */
async function socketsIn(netns: TestNetns): Promise<number> {
  const { stdout } = await netns.exec(["cat", "/proc/net/netlink"]);
  return stdout.split("\n").filter((line) => line.trim().split(/\s+/)[1] === String(NETLINK_NETFILTER))
    .length;
}

async function untilSocketsIn(netns: TestNetns, wanted: number): Promise<number> {
  const deadline = performance.now() + patience(LIMIT_MS);
  for (;;) {
    const count = await socketsIn(netns);
    if (count <= wanted || performance.now() > deadline) return count;
    await Bun.sleep(LOOK_MS);
  }
}

kernelTest(
  "what is closed in the background is gone from the process at once and from the kernel soon",
  async () => {
    await using netns = await testNetns();
    using inside = openNetns(netns.path);
    const atFirst = await socketsIn(netns);
    {
      using _open = inNetns(inside, boundSocket);
      expect(await socketsIn(netns)).toBe(atFirst + 1);
    }
    // The engine may still close what it has of programs that ended before; nothing may have come.
    const before = openDescriptors();
    inNetns(inside, () => {
      for (let i = 0; i < TIMES; i++) closeInBackground(boundSocket());
    });
    expect([...openDescriptors()].filter(([fd, target]) => before.get(fd) !== target)).toEqual([]);
    expect(await untilSocketsIn(netns, atFirst)).toBe(atFirst);
  },
);
