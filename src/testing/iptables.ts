/**
 * The iptables backend in a namespace of a test: its programs run inside by `ip netns exec`, the legacy ones or those
 * over nftables, and every call is counted.
 */
import { openIptables } from "../firewall/iptables.ts";
import type { Run } from "../firewall/iptables-run.ts";
import type { FirewallBackend } from "../firewall/model.ts";
import { plainEnv } from "./run.ts";

export type Variant = "nft" | "legacy";

export interface TestIptables {
  readonly backend: FirewallBackend;
  readonly run: Run;
  /** The programs that were run since it was last emptied. */
  readonly calls: string[];
}

/** `run` for a namespace: `iptables-restore` becomes `iptables-nft-restore` or `iptables-legacy-restore`. */
export function runIn(netns: string, variant: Variant, calls: string[] = []): Run {
  return (program, args, stdin) => {
    calls.push(program);
    const [family = "", verb = ""] = program.split("-");
    const child = Bun.spawnSync(["ip", "netns", "exec", netns, `${family}-${variant}-${verb}`, ...args], {
      stdin: Buffer.from(stdin),
      env: { ...plainEnv },
      timeout: 30_000,
    });
    return {
      code: child.exitCode ?? -1,
      stdout: child.stdout.toString(),
      stderr: child.stderr.toString(),
    };
  };
}

export function iptablesIn(netns: string, variant: Variant, lockPath: string): TestIptables {
  const calls: string[] = [];
  const run = runIn(netns, variant, calls);
  return {
    backend: openIptables({
      run,
      lockPath,
      probe: (_, names, table) => names === undefined || table === "filter",
    }),
    run,
    calls,
  };
}
