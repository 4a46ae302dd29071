/** What the host and the guest say to each other: the job, and how it ended. */

/** Where the guest finds what it alone has. */
export const GUEST_DIR = "/heddle-vm";

/** What guest.ts shall run. */
export interface Job {
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly interactive: boolean;
}
/** How the program in the guest ended; the times are seconds since the guest's kernel started. */
export interface GuestReport {
  readonly code: number;
  readonly startedAfterS: number;
  readonly endedAfterS: number;
}
