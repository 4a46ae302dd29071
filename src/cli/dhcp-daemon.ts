/**
 * `heddle dhcp-daemon`: keeps the leases of the plugin `dhcp`. Also called as `dhcp daemon`, with the reference's options,
 * of one dash or two.
 */
import type { Command } from "commander";
import { NetError } from "../errors.ts";

/** The options as they come from the command line. */
export interface DaemonOptions {
  readonly pidfile?: string;
  readonly hostprefix: string;
  readonly socketpath: string;
  readonly broadcast?: boolean | string;
  /** In milliseconds. */
  readonly timeout: number;
  readonly resendmax: number;
  readonly resendtimeout: number;
}

/** The name of the command. */
export const DHCP_DAEMON = "dhcp-daemon";

export function addDhcpDaemonCommand(program: Command): void {
  const defaults = { timeout: 10_000, resendmax: 62_000, resendtimeout: 208_000 };
  program
    .command(DHCP_DAEMON)
    .description("Get leases for the plugin dhcp, and keep them")
    .option("--socketpath <file>", "The socket that plugins speak to", "/run/cni/dhcp.sock")
    .option("--hostprefix <dir>", "Where the host's root is, before socket, namespaces and leases", "")
    .option("--pidfile <file>", "Write the process' number there")
    .option("--broadcast [bool]", "Ask DHCP servers to answer to all")
    .option("--timeout <time>", "How long one server's offer is asked for (10s)", duration, defaults.timeout)
    .option("--resendmax <time>", "The longest pause between attempts (62s)", duration, defaults.resendmax)
    .option("--resendtimeout <time>", "How long ADD tries (208s)", duration, defaults.resendtimeout)
    .action(async (options: DaemonOptions) => {
      const { runDhcpDaemon } = await import("./dhcp-daemon-run.ts");
      await runDhcpDaemon(options);
    });
}

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
/** A day: what is longer is a mistake. */
const LONGEST_MS = 86_400_000;

/**
 * A time as Go writes it: `10s`, `1m30s`, `500ms`. In milliseconds.
 * @throws usage/invalid
 */
export function duration(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  const ms = parts.reduce((sum, [, n = "", unit = ""]) => sum + Number(n) * (UNIT_MS[unit] ?? 0), 0);
  if (parts.length === 0 || parts.map(([all]) => all).join("") !== text || ms <= 0 || ms > LONGEST_MS)
    throw new NetError("usage/invalid", { why: `"${text}" is not a time such as 10s or 1m30s, at most 24h` });
  return Math.max(1, Math.round(ms));
}

/** Options of this command with one dash, as the reference's daemon takes them. */
export const withTwoDashes = (args: readonly string[]): readonly string[] =>
  args[0] === DHCP_DAEMON ? args.map((arg) => (/^-[a-z]{2}/.test(arg) ? `-${arg}` : arg)) : args;
