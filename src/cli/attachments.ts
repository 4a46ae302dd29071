/**
 * Putting right what is attached on this host: `heddle gc` cleans up after containers that are gone, `heddle reload` puts
 * back what others took away from those that live.
 */
import type { Command } from "commander";
import type { UnusedNetwork } from "../netavark/networks.ts";
import type { Preview } from "../cni/collect-preview.ts";
import type { Runtime } from "../cni/runtime.ts";
import { failureOf, NetError } from "../errors.ts";
import type { AttachmentRecord } from "../netstate/record.ts";
import type { Outcome } from "./outcomes.ts";
import { complain, print } from "./output.ts";

interface JsonOption {
  readonly json?: boolean;
}

interface ReloadOptions extends JsonOption {
  readonly all?: boolean;
}

interface GcOptions extends JsonOption {
  readonly cacheDir?: string;
  readonly dryRun?: boolean;
}

export function addAttachmentCommands(program: Command): void {
  program
    .command("gc")
    .description("Detach containers whose network namespace is gone")
    .option("--dry-run", "Say what would be removed and why, and remove nothing")
    .option("--json", "Print JSON")
    .option("--cache-dir <dir>", "Where attachments are remembered (default: /var/lib/cni)")
    .action(async (options: GcOptions) => collect(options));
  program
    .command("reload")
    .description("Put back firewall rules and shared settings of live attachments")
    .argument(
      "[key]",
      "One attachment: the beginning of its key, as heddle ps prints it, or of its container's id",
    )
    .option("--all", "Every attachment, as without a key")
    .option("--json", "Print JSON")
    .action(async (key: string | undefined, options: ReloadOptions) => putBack(key, options));
}

async function collect({ json, cacheDir, dryRun }: GcOptions): Promise<void> {
  const { confDirOf } = await import("./cni-request.ts");
  const { pluginHost } = await import("../plugins/registry.ts");
  const runtime = {
    // What Podman 5 attached needed no files.
    host: pluginHost(true, { standIn: true }),
    path: process.env["CNI_PATH"] ?? "/opt/cni/bin",
    env: process.env,
    log: complain,
    ...(cacheDir === undefined ? {} : { cacheDir }),
  };
  const confDir = confDirOf(process.env);
  if (dryRun === true) return preview(runtime, confDir, json === true);
  const { collectDead } = await import("../cni/collect.ts");
  const { tell } = await import("./outcomes.ts");
  const done = await collectDead(runtime, confDir);
  const outcomes = [
    ...done.map((d) => ({ ...d, what: nameOf(d), failure: d.failure })),
    ...(await dropNetworks()),
  ];
  const nothing = outcomes.length === 0 ? await nothingDead(runtime) : "";
  tell(outcomes, "detached", nothing, json === true);
}

/** What networks of Podman's have for themselves goes with the last container, also if that was just now. */
async function dropNetworks(): Promise<readonly Outcome[]> {
  const { dropUnused, lockNetworks, removeEmpty, unusedNetworks } = await import("../netavark/networks.ts");
  removeEmpty();
  if (unusedNetworks().length === 0) return [];
  using _lock = lockNetworks();
  const outcomes: Outcome[] = [];
  for (const unused of unusedNetworks()) {
    const failure = await failureOf(() => dropUnused(unused));
    const { name, link } = unused;
    const whose = {
      network: name ?? "",
      containerId: "",
      ifname: "",
      ...(link === undefined ? {} : { link }),
    };
    outcomes.push({ ...whose, what: nameOfUnused({ name, link }), failure });
  }
  return outcomes;
}

const nameOfUnused = ({ name, link }: { [K in keyof UnusedNetwork]: string | undefined }): string =>
  name === undefined
    ? `bridge ${link ?? ""} of a network of Podman's that has lost its record`
    : `what Podman's network ${name} has in the host`;

/** With a word about what is not Heddle's to detach, since its runtime may still do so. */
async function nothingDead(runtime: Runtime): Promise<string> {
  const { countDeadOfOthers } = await import("../cni/collect.ts");
  const count = countDeadOfOthers(runtime);
  const have = count === 1 ? "1 entry in the cache has" : `${count} entries in the cache have`;
  return count === 0
    ? "Nothing to clean up."
    : `Nothing to clean up. Of other runtimes, ${have} lost ${count === 1 ? "its" : "their"} namespace: see heddle doctor.`;
}

const nameOf = (d: {
  readonly containerId: string;
  readonly ifname: string;
  readonly network: string;
}): string => `container ${d.containerId} (${d.ifname}, network ${d.network})`;

async function preview(runtime: Runtime, confDir: string, json: boolean): Promise<void> {
  const { previewCollection } = await import("../cni/collect-preview.ts");
  const dead = [
    ...(await previewCollection(runtime, confDir)).map((d) => ({ ...d, what: nameOf(d) })),
    ...(await previewUnused(runtime)),
  ];
  if (json) {
    const { keyOf } = await import("./outcomes.ts");
    const entries = dead.map(({ what: _, ...entry }) => ({ key: keyOf(entry), ...entry }));
    return print(JSON.stringify(entries, undefined, 2));
  }
  if (dead.length === 0) return print(await nothingDead(runtime));
  const listed = {
    cache: "the list in the cache",
    configuration: "the configured list",
    record: "its records",
  };
  for (const d of dead) {
    print(`would detach ${d.what}: ${d.why}`);
    if (d.plugins.length > 0) print(`  by ${listed[d.by]}: ${d.plugins.join(", ")}`);
    for (const line of d.removes) print(`  - ${line}`);
  }
}

/** Of `dropNetworks`; the container and the interface of such an entry are empty, and the network if it is not known. */
async function previewUnused(runtime: Runtime): Promise<readonly (Preview & { readonly what: string })[]> {
  const { findDead } = await import("../cni/collect.ts");
  const { unusedNetworks } = await import("../netavark/networks.ts");
  const { markOf } = await import("../netstate/owner.ts");
  const dead = await findDead(runtime);
  const going = new Set(dead.flatMap(({ records }) => records.map(({ owner }) => markOf(owner))));
  return unusedNetworks(going).map(({ name, link }) => ({
    what: nameOfUnused({ name, link }),
    network: name ?? "",
    containerId: "",
    ifname: "",
    why: "no container is left on it",
    by: "record",
    plugins: [],
    removes: [
      ...(link === undefined ? [] : [`link ${link}`]),
      ...(name === undefined ? [] : ["record of netavark-network"]),
    ],
  }));
}

async function putBack(key: string | undefined, { all, json }: ReloadOptions): Promise<void> {
  const { describeOwner } = await import("../netstate/alive.ts");
  const { reload } = await import("../netstate/reload.ts");
  if (key !== undefined && all === true)
    throw new NetError("usage/invalid", { why: "either a key or --all, not both" });
  const done = await reload(key === undefined ? undefined : await recordsOf(key));
  const outcomes = done.map(({ record, failure }) => {
    const { component, network, containerId, ifname } = record.owner;
    const what = `${component} of ${describeOwner(record)}`;
    return { network, containerId, ifname, plugin: component, what, failure };
  });
  const { tell } = await import("./outcomes.ts");
  tell(outcomes, "restored", "Nothing is attached that could be put back.", json === true);
}

async function recordsOf(key: string): Promise<readonly AttachmentRecord[]> {
  const { findAttachment, listAttachments } = await import("../cni/attachments.ts");
  return findAttachment(listAttachments(), key).records;
}
