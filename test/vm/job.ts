/** What the host and the guest say to each other: the job, and how it ended. */
import type { FileTime } from "../../scripts/test-times.ts";

/** Where the guest finds what it alone has. */
export const GUEST_DIR = "/heddle-vm";

/** What guest.ts shall run. */
export interface Job {
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly interactive: boolean;
}
/** Where the test runner reports in the guest, if it does. */
export const GUEST_TIMES = `${GUEST_DIR}/times.xml`;

/** How the program in the guest ended; the times are seconds since the guest's kernel started. */
export interface GuestReport {
  readonly code: number;
  readonly startedAfterS: number;
  readonly endedAfterS: number;
  /** How long each test file took, if it ran tests and reported. */
  readonly times: readonly FileTime[];
}
