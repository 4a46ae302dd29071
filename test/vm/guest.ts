/**
 * Runs inside the guest as its only job: takes the program from the job's file, passes on what it prints through the
 * machine's first port, and says through the second how it ended. What goes wrong here itself appears on the console.
 */
import { constants, existsSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { command } from "../../scripts/command.ts";
import { timesIn } from "../../scripts/test-times.ts";
import { GUEST_DIR, GUEST_TIMES, type GuestReport, type Job } from "./job.ts";

/** Seconds since the kernel started. */
const uptime = (): number => Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);

/** The machine's port of this name. */
function port(name: string): number {
  const ports = "/sys/class/virtio-ports";
  const found = readdirSync(ports).find(
    (dir) => readFileSync(`${ports}/${dir}/name`, "utf8").trim() === name,
  );
  if (found === undefined) throw new Error(`the machine has no port ${name}`);
  return openSync(`/dev/${found}`, constants.O_WRONLY);
}

const job = JSON.parse(readFileSync(`${GUEST_DIR}/job.json`, "utf8")) as Job;
await command(["ip", "link", "set", "lo", "up"]);
const startedAfterS = uptime();
const output = job.interactive ? openSync("/dev/hvc0", constants.O_RDWR) : port("program");
const leader = job.interactive ? [`${GUEST_DIR}/busybox`, "setsid", "-c"] : [];
const child = Bun.spawn([...leader, ...job.argv], {
  cwd: job.cwd,
  env: job.env,
  stdio: [job.interactive ? output : "ignore", output, output],
});
const code = await child.exited;
const times = existsSync(GUEST_TIMES) ? timesIn(readFileSync(GUEST_TIMES, "utf8")) : [];
const report: GuestReport = { code, startedAfterS, endedAfterS: uptime(), times };
writeSync(port("report"), JSON.stringify(report));
