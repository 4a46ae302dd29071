/**
 * `npm run bench -- agent`: what an idle agent takes of memory, in fabrics of 3 and of 1,000 nodes by vxlan. The other nodes are
 * in the store alone; store, kernel and agent are real.
 */
import { readFileSync } from "node:fs";
import { agentHosts, PREFIX } from "../src/testing/agent-hosts.ts";
import { numbered, numberedNetwork } from "../src/testing/fabric.ts";
import { leaseName, leaseValue } from "../src/providers/flannel/lease-codec.ts";
import { ensureBuilt } from "../scripts/build.ts";

/** Nodes, and the most that the agent may have resident, in megabytes (10^6). */
const targets = [
  [3, 60],
  [1000, 90],
] as const;
/** After that long an agent that has become ready is idle. */
const IDLE_MS = 20_000;

/** @throws Error with a line for people */
export async function benchAgent(argv: readonly string[]): Promise<void> {
  const check = argv.includes("--check");
  const unknown = argv.find((word) => word !== "--check");
  if (unknown !== undefined) throw new Error(`unknown option ${unknown}: agent has --check`);
  const heddle = await ensureBuilt();
  for (const [nodes, most] of targets) {
    const { residentMb, anonymousMb, readyMs } = await idle(heddle, nodes);
    const met = residentMb <= most;
    console.log(
      `${nodes} nodes: ready after ${readyMs.toFixed(0)} ms; idle ${residentMb.toFixed(1)} MB resident, ` +
        `${anonymousMb.toFixed(1)} MB of it its own, target ≤ ${most} MB${met ? "" : "  MISSED"}`,
    );
    if (!met && check) process.exitCode = 1;
  }
}

async function idle(heddle: string, nodes: number) {
  const network = { Network: numberedNetwork.v4?.text, SubnetLen: 24, Backend: { Type: "vxlan" } };
  await using made = await agentHosts({ heddle, count: 1, network });
  const [host] = made.hosts;
  if (host === undefined) throw new Error("there is no host");
  // The host's own node comes with the agent.
  for (let n = 2; n <= nodes; n++) {
    const node = numbered(n);
    await made.store.kv.put(`${PREFIX}/subnets/${leaseName(node.subnets)}`, leaseValue(node));
  }
  const began = performance.now();
  const { pid } = host.start();
  await host.until("ready with all peers", (s) => s.ready && s.nodes.peers === nodes - 1);
  const readyMs = performance.now() - began;
  await Bun.sleep(IDLE_MS);
  const value = (key: string): number =>
    (Number(
      new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1],
    ) *
      1024) /
    1e6;
  return { readyMs, residentMb: value("VmRSS"), anonymousMb: value("RssAnon") };
}
