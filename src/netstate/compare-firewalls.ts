import type { Backend, FirewallBackend } from "../firewall/model.ts";
import type { Run } from "../firewall/iptables-run.ts";
import type { Context } from "./context.ts";

/**
 * The firewalls as one who compares many attachments sees them, and changes nothing: each is opened once, and a program
 * that lists the rules is run once, so that what is seen may be as old as this is open.
 */
export interface ComparedFirewalls extends Disposable {
  readonly firewalls: Context["firewalls"];
  /** Runs a program that lists rules, or gives what it printed before. */
  readonly list: Run;
}

type Opened = FirewallBackend & Partial<Disposable>;

/** Opens those that are named. */
export async function compareFirewalls(backends: ReadonlySet<Backend>): Promise<ComparedFirewalls> {
  const { runProgram } = await import("../firewall/iptables-run.ts");
  const list = remembering(runProgram);
  const openers: { readonly [B in Backend]: () => Promise<Opened> } = {
    nftables: async () => (await import("../firewall/nftables.ts")).openNftables(),
    iptables: async () => (await import("../firewall/iptables.ts")).openIptables({ run: list }),
    firewalld: async () => (await import("../firewall/firewalld.ts")).openFirewalld(),
  };
  const opened = new Map<Backend, Opened>();
  for (const backend of backends) opened.set(backend, await openers[backend]());
  return {
    list,
    firewalls: {
      open(backend) {
        const firewall = opened.get(backend);
        if (firewall === undefined) throw new TypeError(`firewall ${backend} was not opened`);
        return firewall;
      },
      withHostPorts: refuse,
      flush: refuse,
    },
    [Symbol.dispose]() {
      for (const firewall of opened.values()) firewall[Symbol.dispose]?.();
    },
  };
}

const refuse = (): never => {
  throw new TypeError("who compares changes nothing");
};

function remembering(run: Run): Run {
  const printed = new Map<string, ReturnType<Run>>();
  return (program, args, stdin) => {
    const key = [program, ...args].join("\0");
    if (!printed.has(key)) printed.set(key, run(program, args, stdin));
    return printed.get(key);
  };
}
