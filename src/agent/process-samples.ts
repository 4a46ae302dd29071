/** What the kernel knows of this process, by the names that Prometheus' own clients use. */
import { readdirSync, readFileSync } from "node:fs";
import type { Sample } from "./metrics.ts";

/** Bytes of a page of memory: on x86-64, and on arm64 as its distributions build it. */
const PAGE = 4096;

export function processSamples(startedAt: number): readonly Sample[] {
  // proc_pid_statm(5): sizes in pages.
  const [virtual = 0, resident = 0] = readFileSync("/proc/self/statm", "utf8").split(" ").map(Number);
  const { user, system } = process.cpuUsage();
  return [
    { name: "process_resident_memory_bytes", value: resident * PAGE },
    { name: "process_virtual_memory_bytes", value: virtual * PAGE },
    { name: "process_open_fds", value: readdirSync("/proc/self/fd").length },
    { name: "process_start_time_seconds", value: Math.round(startedAt / 1000) },
    { name: "process_cpu_seconds_total", value: (user + system) / 1e6 },
  ];
}
