/**
 * Faults in a program that knows nothing of them: strace makes the n-th system call of one kind fail, or kills the
 * process as it makes it. Which calls there are is read from one recorded run.
 */
import { readFileSync } from "node:fs";

export interface Fault {
  readonly call: string;
  /** Which one of its kind, from 1. */
  readonly nth: number;
  /** `fail`: the call is not made and says EIO. `kill`: the process dies before the call is made. */
  readonly mode: "fail" | "kill";
  /** True: it happens in every program that the process starts, if the process itself makes no such call. */
  readonly inChildren?: true;
  /** What the call was in the recorded run, for people. */
  readonly label: string;
}

/** Requests to the kernel, changes of files, and the calls that follow them: killed there, what went before is done. */
const CALLS = [
  ...["sendto", "sendmsg", "recvfrom", "recvmsg", "setns", "socket", "ioctl"],
  ...["setsockopt", "getsockopt", "bind", "connect", "getsockname", "socketpair"],
  ...["openat", "write", "pwrite64", "rename", "link", "unlink", "mkdir", "ftruncate", "flock", "utimensat"],
  ...["chown", "chmod", "fsync", "getdents64", "memfd_create"],
  ...["clone3", "vfork", "pidfd_open", "wait4", "exit_group"],
];

const strace = (file: string): string[] => [
  "strace",
  "-qq",
  "-o",
  file,
  "-e",
  `trace=read,${CALLS.join(",")}`,
];

/** Words in front of a program that write its calls to a file. Only its main thread is seen: it makes all of ours. */
export const recording = (file: string): string[] => strace(file);

/** Words in front of a program that bring the fault about, and tell the file of it. */
export const injecting = ({ call, nth, mode, inChildren }: Fault, file: string): string[] => [
  ...strace(file),
  ...(inChildren ? ["-f"] : []),
  "-e",
  `inject=${call}:${mode === "fail" ? "error=EIO" : "signal=SIGKILL"}:when=${nth}`,
];

/**
 * Every place of a recorded run where a fault can be, after the configuration was read: each call can fail, and the process
 * can be killed in each state that it goes through. Between two calls that change something the state is the same.
 */
export function faultsIn(file: string): Fault[] {
  const seen = new Map<string, number>();
  let began = false;
  return readFileSync(file, "utf8")
    .split("\n")
    .flatMap((line) => {
      const call = /^(\w+)\(/.exec(line)?.[1];
      if (call === undefined) return [];
      const nth = (seen.get(call) ?? 0) + 1;
      seen.set(call, nth);
      began ||= /^read\(0,|^openat\(.*\.conflist/.test(line);
      if (!began || !CALLS.includes(call) || isReading(call, line)) return [];
      const modes: Fault["mode"][] = [];
      if (!leavesAsItWas(call, line)) modes.push("kill");
      if (call !== "exit_group") modes.push("fail");
      return modes.map((mode) => ({ call, nth, mode, label: line.slice(0, 120) }));
    });
}

/** The programs of iptables talk to the kernel by this call, and nobody else here does. */
export const childFaults: readonly Fault[] = [1, 2].flatMap((nth) =>
  (["kill", "fail"] as const).map((mode) => ({
    call: "sendmsg",
    nth,
    mode,
    inChildren: true,
    label: "in the programs of iptables",
  })),
);

/** Files that are only read; opening a namespace counts, since what follows depends on it. */
const isReading = (call: string, line: string): boolean =>
  call === "openat" && !/O_WRONLY|O_RDWR|O_CREAT|\/ns\/net|\/run\/netns/.test(line);

const ASKING = new Set([
  ...["recvfrom", "recvmsg", "socket", "setns", "flock"],
  ...["setsockopt", "getsockopt", "bind", "getsockname", "socketpair"],
  ...["getdents64", "memfd_create", "pidfd_open"],
]);

/** Whether the call changed neither the kernel's state nor a file, as the line says. Unknown requests are changes. */
function leavesAsItWas(call: string, line: string): boolean {
  if (ASKING.has(call) || / = -1 E\w+/.test(line)) return true;
  if (call === "openat") return !/O_CREAT|O_TRUNC/.test(line);
  if (call === "clone3") return line.includes("CLONE_THREAD");
  // A descriptor on its way to a thread that closes it.
  if (call === "sendmsg" && line.includes("SCM_RIGHTS")) return true;
  if (call !== "sendto" && call !== "sendmsg") return false;
  return requestTypes(line).every(isQuestion);
}

const requestTypes = (line: string): readonly string[] =>
  [...line.matchAll(/nlmsg_type=(?:\w+<<8\|)?(\w+)/g)].map(([, type = ""]) => type);

/** What strace cannot name it prints as a number: of the four requests of a kind of rtnetlink the third asks. */
function isQuestion(type: string): boolean {
  if (!type.startsWith("0x"))
    return /^(?:RTM|NFT_MSG|IPCTNL_MSG_CT)_GET/.test(type) && !type.endsWith("CTRZERO");
  const number = Number(type);
  return number === NFT_MSG_GETGEN || (number < 0x100 && (number & 3) === 2);
}
/** Of subsystem 10 (linux/netfilter/nf_tables.h). */
const NFT_MSG_GETGEN = 0xa10;

/** This many of the items, chosen by the seed. */
export function sample<T>(items: readonly T[], count: number, seed: number): T[] {
  // Small seeds would otherwise begin with small numbers, and always choose the first item.
  let state = Bun.hash.xxHash32(String(seed)) || 1;
  const next = (): number => {
    // xorshift32: the same choice for the same seed everywhere.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  return items
    .map((item) => ({ item, at: next() }))
    .toSorted((a, b) => a.at - b.at)
    .slice(0, count)
    .map(({ item }) => item);
}
