/** One daemon keeps a thousand leases: all of them are renewed in time, with few children and bounded memory. */
import { expect } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { askDaemon } from "../../src/dhcp/client.ts";
import { CHILDREN } from "../../src/dhcp/children.ts";
import { makeSlots } from "../../src/dhcp/slots.ts";
import type { LeaseKey } from "../../src/dhcp/model.ts";
import { identifyNetns } from "../../src/netstate/alive.ts";
import { clientIdOf } from "../../src/plugins/ipam/dhcp/config.ts";
import { dhcpLab } from "../../src/testing/dhcp-lab.ts";
import { startServer } from "../../src/testing/dhcp-server.ts";
import { testWith } from "../../src/testing/needs.ts";
import { run } from "../../src/testing/run.ts";

const LEASES = 1000;
/** Plugins that ask at a time: more than the daemon has children. */
const CALLERS = 100;
/** More than this is a leak or a mistake; about 70 MB were measured. */
const MOST_MB = 200;

const statusMb = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

/** How many processes have this one as their parent: the fourth word of their state, after the name in brackets. */
const childrenOf = (pid: number): number =>
  readdirSync("/proc").filter((name) => {
    try {
      const stat = readFileSync(`/proc/${Number(name)}/stat`, "utf8");
      return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1] === String(pid);
    } catch {
      return false; // Not a process, or one that is gone by now.
    }
  }).length;

testWith({ root: true, programs: ["ip", "setpriv"] })(
  "a thousand leases are got, renewed and given back by one daemon",
  async () => {
    await using lab = await dhcpLab();
    const behaviour = {
      link: "lan",
      address: "10.9.0.1",
      first: "10.9.16.0",
      leaseSeconds: 600,
      t1: 60,
      t2: 500,
    };
    await using _ = await startServer(lab.server, behaviour);
    await using daemon = await lab.daemon();
    const netns = identifyNetns(lab.container.path);
    if (netns === undefined) throw new Error("the container has no namespace");
    const keys: readonly LeaseKey[] = Array.from({ length: LEASES }, (_k, i) => ({
      network: "lan",
      containerId: `c${i}`,
      ifname: "eth0",
    }));
    let mostChildren = 0;
    const watch = setInterval(() => (mostChildren = Math.max(mostChildren, childrenOf(daemon.pid))), 500);
    const callers = makeSlots(CALLERS);
    const began = performance.now();
    const addresses = await Promise.all(
      keys.map(async (key) =>
        callers.run(async () => {
          const client = { id: clientIdOf(key.network, key), options: [], request: [1], broadcast: false };
          const [lease] = await askDaemon(lab.socketPath, {
            op: "acquire",
            key,
            netns,
            client,
            families: [4],
          });
          return lease?.terms.address ?? "";
        }),
      ),
    );
    const got = performance.now();
    expect(new Set(addresses).size).toBe(LEASES);
    expect(readdirSync(join(lab.dir, "state/dhcp")).filter((n) => n.endsWith(".json"))).toHaveLength(LEASES);
    await run(["ip", "-n", lab.container.name, "-batch", "-"], {
      stdin: addresses.map((a) => `address add ${a} dev eth0\n`).join(""),
    });
    // Every lease, and not one of them twice instead of another.
    const renewed = new Set<string>();
    await daemon.log.line((line) => {
      const address = / (\S+) from .* renewed /.exec(line)?.[1];
      if (address !== undefined) renewed.add(address);
      return renewed.size === LEASES;
    }, 400_000);
    const kept = performance.now();
    const memory = statusMb(daemon.pid);
    // An answer does not wait for renewals.
    const asked = performance.now();
    await askDaemon(lab.socketPath, {
      op: "show",
      key: { network: "lan", containerId: "c0", ifname: "eth0" },
    });
    const shown = performance.now() - asked;
    await askDaemon(lab.socketPath, { op: "retain", network: "lan", valid: [] });
    const released = performance.now();
    clearInterval(watch);
    console.log(
      `${LEASES} leases: got in ${((got - began) / 1e3).toFixed(1)} s, renewed by ${((kept - began) / 1e3).toFixed(1)} s, ` +
        `released in ${((released - asked) / 1e3).toFixed(1)} s; ${memory.toFixed(0)} MB, at most ${mostChildren} children, ` +
        `CHECK ${shown.toFixed(1)} ms`,
    );
    expect(readdirSync(join(lab.dir, "state/dhcp")).filter((n) => n.endsWith(".json"))).toEqual([]);
    expect(mostChildren).toBeLessThanOrEqual(CHILDREN.acquire + CHILDREN.upkeep + CHILDREN.release);
    expect(memory).toBeLessThan(MOST_MB);
  },
  900_000,
);
