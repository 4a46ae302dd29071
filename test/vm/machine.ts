/**
 * One run of a virtual machine: a kernel that is not this machine's, under QEMU's software emulation, with the host's
 * files (read-only, under a layer of memory) and no network but its own. It runs one program and ends.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { projectDir } from "../../scripts/paths.ts";
import { SPARE_NICS } from "../../src/testing/spare-nics.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";
import { initramfs } from "./initramfs.ts";
import type { GuestReport, Job } from "./job.ts";
import { type Emulator, emulator, kernel, type KernelVersion } from "./parts.ts";

/** How many times longer than on the host a test may take in a guest. Measured: 10 to 30. */
export const GUEST_SLOWDOWN = 20;
/** Memory of the guest. It takes from the host only what it touches. */
const MEMORY_MB = 3072;
/** Processors of the guest, each a thread of the emulator. */
export const PROCESSORS = 2;

export interface GuestRun {
  readonly kernel: KernelVersion;
  /** The program and its arguments; it starts in the project's folder. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** After this many seconds the machine is ended. */
  readonly limitS: number;
  /** Gets what the program prints, as it comes. Without it the program has this process's terminal. */
  readonly print?: (chunk: Uint8Array) => void;
}
export interface GuestOutcome {
  /** What the program printed. */
  readonly output: string;
  /** How the program ended; undefined if the machine ended before. */
  readonly report: GuestReport | undefined;
  readonly timedOut: boolean;
  /** The kernel's log, and what the guest's own start said. */
  readonly console: string;
}

/** Why this machine can have no guest; undefined if it may. Whether packages can be fetched only the attempt shows. */
export function whyNoGuest(): string | undefined {
  if (process.platform !== "linux" || process.arch !== "x64") return "needs Linux on x86-64";
  if (process.geteuid?.() !== 0) return "needs root";
  if (Bun.which("apt-get") === null) return "needs Debian's apt to fetch an emulator and a kernel";
  return undefined;
}

const KERNEL_OPTIONS = [
  "console=ttyS0 loglevel=5",
  // The test of the timer counts its ticks, and fails on a busy host.
  "no_timer_check",
  // A panic ends the machine.
  "panic=-1",
  // Code that every process has at the same address is translated once: a fifth of the emulator's time.
  "norandmaps",
  // These cost a sixth of the time and protect nothing here.
  "mitigations=off init_on_alloc=0",
  // The emulated time stamp counter is steady, and asking another clock is slow.
  "tsc=reliable",
  // Modules that come with links of their own would put them under the eyes of running tests.
  "fb_tunnels=none bonding.max_bonds=0 dummy.numdummies=0 ifb.numifbs=0",
].join(" ");

/** Boots a guest, runs the program, ends the guest. @throws if there can be no guest */
export async function runInGuest(run: GuestRun): Promise<GuestOutcome> {
  const why = whyNoGuest();
  if (why !== undefined) throw new Error(`a virtual machine ${why}`);
  const tools = await emulator();
  const system = await kernel(run.kernel);
  using dir = tempDir("vm");
  const job: Job = {
    argv: run.argv,
    cwd: projectDir,
    env: run.env,
    interactive: run.print === undefined,
  };
  writeFileSync(dir.in("initramfs"), initramfs(system, tools, job));
  await using files = await shareFiles(tools, dir.in("files.sock"));
  const argv = [tools.qemu, ...qemuArguments(tools, system.image, dir.path, job.interactive)];
  using program = listenTo(dir.in("program.sock"), run.print);
  const terminal = job.interactive ? "inherit" : "ignore";
  const child = Bun.spawn([...bound, ...argv], {
    env: { ...tools.env },
    stdio: [terminal, terminal, "pipe"],
  });
  let timedOut = false;
  const limit = setTimeout(() => ((timedOut = true), child.kill("SIGKILL")), run.limitS * 1e3);
  try {
    const errors = await child.stderr.text();
    await child.exited;
    const output = await program.text();
    const console = `${textIn(dir.in("console"))}${errors}${await files.errors()}`;
    return { output, report: reportIn(dir.in("report")), timedOut, console };
  } finally {
    clearTimeout(limit);
    child.kill("SIGKILL");
    await child.exited;
  }
}

/** Ends a program together with the thread that started it, also when this process is killed. */
const bound: readonly string[] = ["setpriv", "--pdeathsig", "KILL", "--"];

function qemuArguments(tools: Emulator, image: string, dir: string, interactive: boolean): readonly string[] {
  const program = interactive
    ? ["-device", "virtconsole,bus=ports.0,nr=0,chardev=program"]
    : ["-device", "virtserialport,bus=ports.0,chardev=program,name=program"];
  return [
    ...["-machine", "q35", "-accel", "tcg,thread=multi", "-smp", String(PROCESSORS)],
    // Without cmpxchg16b: QEMU 7.2 leaves random flags after it, which ends in a double fault sooner or later.
    ...["-cpu", "max,-cx16"],
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...tools.firmware.flatMap((path) => ["-L", path]),
    ...["-kernel", image, "-initrd", `${dir}/initramfs`],
    ...["-append", KERNEL_OPTIONS],
    ...["-m", String(MEMORY_MB), "-numa", "node,memdev=memory"],
    // Shared, because the file server reads and writes it.
    ...["-object", `memory-backend-memfd,id=memory,size=${MEMORY_MB}M,share=on`],
    ...["-chardev", `socket,id=files,path=${dir}/files.sock`],
    ...["-device", "vhost-user-fs-pci,chardev=files,tag=host,queue-size=1024"],
    ...["-serial", `file:${dir}/console`],
    ...[
      "-chardev",
      interactive ? "stdio,id=program,signal=off" : `socket,id=program,path=${dir}/program.sock`,
    ],
    ...["-chardev", `file,id=report,path=${dir}/report`],
    ...["-device", "virtio-serial-pci,id=ports", ...program],
    ...["-device", "virtserialport,bus=ports.0,chardev=report,name=report"],
    ...SPARE_NICS.flatMap((mac, i) => [
      ...["-netdev", `hubport,id=wire${i},hubid=0`],
      ...["-device", `virtio-net-pci,netdev=wire${i},mac=${mac},romfile=`],
    ]),
  ];
}

interface FileServer extends AsyncDisposable {
  /** What it complained about, after the guest has gone. */
  errors(): Promise<string>;
}

/** Offers the host's whole root to the guest. It ends with the guest. */
async function shareFiles(tools: Emulator, socket: string): Promise<FileServer> {
  const options = "source=/,cache=always,sandbox=chroot";
  const argv = [tools.virtiofsd, `--socket-path=${socket}`, "-f", "-o", options, "-o", "log_level=warn"];
  const child = Bun.spawn([...bound, ...argv], {
    env: { ...tools.env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const said = child.stderr.text();
  while (!existsSync(socket)) {
    if (child.exitCode !== null) throw new Error(`the guest's file server ended: ${await said}`);
    await Bun.sleep(5);
  }
  const stop = async (): Promise<void> => {
    child.kill("SIGKILL");
    await child.exited;
  };
  return { errors: () => stop().then(() => said), [Symbol.asyncDispose]: stop };
}

interface Output extends Disposable {
  /** Everything, after the machine has ended. */
  text(): Promise<string>;
}

/** Takes what the machine writes to a socket that it connects to; passes it on and keeps it. */
function listenTo(path: string, print: GuestRun["print"]): Output {
  const decoder = new TextDecoder();
  const closed = Promise.withResolvers<void>();
  let text = "";
  let connected = false;
  const server = Bun.listen({
    unix: path,
    socket: {
      open: () => void (connected = true),
      data: (_, chunk) => {
        print?.(chunk);
        text += decoder.decode(chunk, { stream: true });
      },
      close: () => closed.resolve(),
    },
  });
  return {
    text: async () => {
      if (connected) await closed.promise;
      return text;
    },
    [Symbol.dispose]: () => server.stop(true),
  };
}

const textIn = (path: string): string => (existsSync(path) ? readFileSync(path, "utf8") : "");

function reportIn(path: string): GuestReport | undefined {
  const text = textIn(path);
  return text === "" ? undefined : (JSON.parse(text) as GuestReport);
}
