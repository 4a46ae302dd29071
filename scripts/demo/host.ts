/**
 * The host of the demo: a private one, or this machine. On this machine it is looked first whether what the list takes
 * is free, and at the end what is shared and was not there before is taken away too, which a node would not do.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { overlaps, parsePrefix } from "../../src/net/ip.ts";
import { listRecords } from "../../src/netstate/record.ts";
import { mountNew } from "../../src/sys/mounts.ts";
import { command } from "../command.ts";
import { NETWORK } from "./kernel.ts";

export const SUBNET = "10.244.10.0/24";
export const HOST_PORT = 9090;

/**
 * Makes this process' own namespaces look like a fresh host. `/run` and `/var/lib` are covered as a whole, since what
 * is kept below them need not exist on the machine.
 */
export async function playHost(): Promise<void> {
  for (const dir of ["/run", "/var/lib"]) mountNew("tmpfs", dir, "mode=755");
  mkdirSync("/run/netns");
  await command(["ip", "link", "set", "lo", "up"]);
}

/** Throws unless the port, the subnet and the bridge's name are free on this machine. */
export async function requireFree(): Promise<void> {
  try {
    Bun.listen({ hostname: "127.0.0.1", port: HOST_PORT, socket: { data: () => {} } }).stop(true);
  } catch (cause) {
    throw new Error(`port ${HOST_PORT} of 127.0.0.1 is in use; end what listens there`, { cause });
  }
  const wanted = parsePrefix(SUBNET);
  const routes = JSON.parse((await command(["ip", "-j", "-4", "route", "show", "table", "all"])) || "[]") as {
    readonly dst: string;
    readonly dev?: string;
  }[];
  for (const { dst, dev } of routes) {
    const prefix = parsePrefix(dst.includes("/") ? dst : `${dst}/32`);
    if (prefix.ok && wanted.ok && prefix.value.bits > 0 && overlaps(prefix.value, wanted.value))
      throw new Error(
        `the subnet ${SUBNET} is in use: there is a route to ${dst}${dev ? ` over ${dev}` : ""}`,
      );
  }
  const links = JSON.parse(await command(["ip", "-j", "link", "show"])) as { readonly ifname: string }[];
  if (links.some((l) => l.ifname === NETWORK)) throw new Error(`there is an interface ${NETWORK} already`);
}

type Shared = ReadonlyMap<string, string>;

/** The chains that port mappings share: nothing else of iptables is the demo's to take away. */
const SHARED_CHAIN = /CNI-HOSTPORT-(?:DNAT|SETMARK|MASQ|GUARD)\b/;

/** Tables, shared chains and the rules about them, without counters. */
const ruleLines = (text: string): readonly string[] =>
  text
    .split("\n")
    .filter((line) => line.startsWith("*") || (/^(?::|-A)/.test(line) && SHARED_CHAIN.test(line)))
    .map((line) => (line.startsWith(":") ? (line.split(" ", 1)[0] ?? line) : line));

/** The text for iptables-restore that takes away what `after` has and `before` has not. Pure. */
export function iptablesUndo(before: string, after: string): string {
  const known = new Set<string>();
  let table = "";
  for (const line of ruleLines(before)) {
    if (line.startsWith("*")) table = line;
    else known.add(`${table} ${line}`);
  }
  const undo = new Map<string, { rules: string[]; chains: string[] }>();
  for (const line of ruleLines(after)) {
    if (line.startsWith("*")) undo.set((table = line), { rules: [], chains: [] });
    else if (!known.has(`${table} ${line}`)) {
      if (line.startsWith(":")) undo.get(table)?.chains.push(`-X ${line.slice(1)}`);
      else undo.get(table)?.rules.push(line.replace(/^-A/, "-D"));
    }
  }
  return [...undo]
    .filter(([, { rules, chains }]) => rules.length + chains.length > 0)
    .map(([name, { rules, chains }]) => [name, ...rules, ...chains, "COMMIT", ""].join("\n"))
    .join("");
}

/**
 * Takes away what the demo has brought to this machine beyond its containers. If somebody has attached a container
 * meanwhile, it is left: it is that container's, too.
 */
export async function takeBack(before: Shared, iptablesBefore: string): Promise<void> {
  if (listRecords("heddle-").length > 0) return;
  if (!before.has(`bridge ${NETWORK}`)) await quietly(["ip", "link", "delete", NETWORK]);
  if (!before.has("nftables table inet heddle")) await quietly(["nft", "delete", "table", "inet", "heddle"]);
  const undo = iptablesUndo(iptablesBefore, await command(["iptables-save"]));
  if (undo !== "") await restore(undo);
  const forward = before.get("sysctl net.ipv4.ip_forward");
  if (forward !== undefined) writeFileSync("/proc/sys/net/ipv4/ip_forward", forward);
  if (!before.has(`/var/lib/cni/networks/${NETWORK}`)) {
    rmSync(`/var/lib/cni/networks/${NETWORK}`, { recursive: true, force: true });
    rmSync(`/var/lib/cni/networks/.heddle/${NETWORK}.index`, { force: true });
  }
}

async function quietly(argv: readonly string[]): Promise<void> {
  try {
    await command(argv);
  } catch {
    // It was never made.
  }
}

async function restore(text: string): Promise<void> {
  const child = Bun.spawn(["iptables-restore", "--noflush"], { stdin: Buffer.from(text), stdout: "ignore" });
  if ((await child.exited) !== 0) throw new Error("iptables-restore could not take the demo's chains away");
}
