/**
 * What an agent keeps for the next one of its host, as text: the network's configuration, the own lease and the nodes, as
 * the store has them. Whoever starts while the store is away repairs the kernel by it. Pure; what is read is hostile.
 */
import { decodeAs, integer, invalid, object, parseJson, refined, required, text } from "../cni/json.ts";
import { NetError } from "../errors.ts";
import type { FabricNode } from "../fabric/model.ts";
import { leaseName, leaseValue, parseLeaseName, parseLeaseValue } from "../providers/flannel/lease-codec.ts";
import type { Known, Recalled } from "./model.ts";

/** Largest text, in bytes: more than a hundred thousand nodes. */
export const MEMORY_BYTES = 16 * 1024 * 1024;
/** A node that says more, in characters, is left out, as one that could not be read: nobody may make all of it unreadable. */
const NODE_LENGTH = 64 * 1024;
const TITLE = "heddle agent 1";
const WHAT = "what an earlier agent knew";

/** Whose knowledge it is: that of another host, or of another store, is not used. */
export interface MemoryOf {
  readonly node: string;
  /** Two settings with the same text mean the same network. */
  readonly store: string;
}

/** Without the time at which it was known, so that the same knowledge is the same text. */
export function memoryBody({ config, lease, nodes }: Known, { node, store }: MemoryOf): string {
  const head = { node, store, config, own: lineOf(lease.node), expires: lease.expires };
  const others = [...nodes.values()].flatMap((one) => ("why" in one ? [] : (keptLine(one) ?? [])));
  return `${[JSON.stringify(head), ...others].join("\n")}\n`;
}

/**
 * `at`: milliseconds since the epoch.
 * @throws decode/malformed if it is larger than anybody would read
 */
export function memoryText(body: string, at: number): string {
  const all = `${JSON.stringify({ at })}\n${body}`;
  if (Buffer.byteLength(all) > MEMORY_BYTES - 100) throw malformed(`more than ${MEMORY_BYTES} bytes`);
  return `${TITLE} ${sumOf(all)}\n${all}`;
}

const lineOf = (node: FabricNode) => ({
  id: node.id,
  name: leaseName(node.subnets),
  value: leaseValue(node),
});

/** Made once for as long as a node says the same. */
const lines = new WeakMap<FabricNode, { readonly line: string | undefined }>();

function keptLine(node: FabricNode): string | undefined {
  const before = lines.get(node);
  if (before !== undefined) return before.line;
  const { id, name, value } = lineOf(node);
  const line = JSON.stringify({ id, name, value });
  // Not every store gives what a lease of a key can say.
  const isKept = line.length <= NODE_LENGTH && parseLeaseName(name).ok && parseLeaseValue(value).ok;
  lines.set(node, { line: isKept ? line : undefined });
  return isKept ? line : undefined;
}

const line = object({ id: required(text), name: required(text), value: required(text) });
const readNode = refined(line, ({ id, name, value }, at): FabricNode => {
  const subnets = parseLeaseName(name);
  const told = parseLeaseValue(value);
  if (!subnets.ok) return invalid(`${at}.name`, subnets.why);
  if (!told.ok) return invalid(`${at}.value`, told.why);
  return { id, subnets: subnets.value, ...told.value };
});
/** Of ECMAScript's dates, which are printed. */
const time = integer({ min: 0, max: 8.64e15 });
const readTime = object({ at: required(time) });
const readHead = object({
  node: required(text),
  store: required(text),
  config: required(text),
  own: required(readNode),
  expires: time,
});

/** @throws decode/malformed if it is damaged, or somebody else's */
export function readMemory(source: string, of: MemoryOf): Recalled {
  const [title = "", when = "", first = "", ...others] = source.replace(/\n$/, "").split("\n");
  const all = source.slice(title.length + 1);
  if (title !== `${TITLE} ${sumOf(all)}`) throw malformed("the file is damaged, or of another version");
  const { at } = decodeAs(WHAT, readTime, parseJson(when, WHAT));
  const { node, store, config, own, expires } = decodeAs(WHAT, readHead, parseJson(first, WHAT));
  if (node !== of.node) throw malformed(`it is that of ${JSON.stringify(node)}, and this is ${of.node}`);
  if (store !== of.store) throw malformed("it is of another store");
  const nodes = others.map((source) => decodeAs(WHAT, readNode, parseJson(source, WHAT)));
  return {
    at,
    config,
    lease: { node: own, ...(expires === undefined ? {} : { expires }) },
    nodes: new Map(nodes.map((one) => [one.id, one])),
  };
}

const malformed = (why: string): NetError => new NetError("decode/malformed", { what: WHAT, why });
const sumOf = (source: string): string => Bun.hash.crc32(source).toString(16).padStart(8, "0");
