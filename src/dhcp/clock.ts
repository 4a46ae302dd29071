/**
 * The daemon's clock: the time since the machine was started, suspension included, which nobody sets. The wall clock is
 * only stamped on leases on disk, for people and for a daemon that finds another boot than the one they were written in.
 */
import { readText } from "../sys/files.ts";

export interface Clock {
  /** Milliseconds since this boot. */
  now(): number;
  /** Milliseconds since 1970, as the machine believes. */
  wall(): number;
  /** Changes with each boot. */
  readonly bootId: string;
}

export const bootClock = (): Clock => ({
  // /proc/uptime is the boot clock with a resolution of 10 ms; leases are counted in seconds.
  now: () => Number.parseFloat(readText("/proc/uptime")) * 1000,
  wall: () => Date.now(),
  bootId: readText("/proc/sys/kernel/random/boot_id").trim(),
});

export interface Stamp {
  readonly sinceMs: number;
  readonly wallMs: number;
  readonly bootId: string;
}

/** A point in time that lasts: `agoMs` before now. */
export const stamp = (clock: Clock, agoMs: number): Stamp => ({
  sinceMs: Math.round(clock.now() - agoMs),
  wallMs: Math.round(clock.wall() - agoMs),
  bootId: clock.bootId,
});

/** That point on this clock. A wall clock that went backwards since is taken to have stood still. */
export const onClock = (clock: Clock, { sinceMs, wallMs, bootId }: Stamp): number =>
  bootId === clock.bootId ? sinceMs : clock.now() - Math.max(0, clock.wall() - wallMs);
