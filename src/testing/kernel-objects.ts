/**
 * What a fabric has in a kernel, as the usual programs show it and without what nobody chooses: two hosts that were set
 * up differently show the same if they are the same.
 */
import type { FabricHost } from "./fabric-lan.ts";

type Row = Readonly<Record<string, unknown>>;
/** What one cannot choose: indexes, counters, and the mark of whose an object is. */
const passing = new Set([
  "ifindex",
  "altnames",
  "stats64",
  "group",
  "operstate",
  "txqlen",
  "protocol",
  "link_index",
]);

/** Rows that a program printed as JSON, as sorted text. */
export const plainRows = (rows: readonly Row[]): readonly string[] =>
  rows
    .map((row) => JSON.stringify(row, (key, value: unknown) => (passing.has(key) ? undefined : value)))
    .toSorted();

/** Everything of these links: themselves, their addresses, permanent neighbours, forwarding entries and routes. */
export async function shownObjects(
  host: FabricHost,
  ...links: readonly string[]
): Promise<readonly string[]> {
  const all: string[] = [];
  for (const link of links) {
    const read = async (...argv: readonly string[]): Promise<readonly string[]> =>
      plainRows(await host.json(...argv, "dev", link));
    all.push(
      ...(await read("ip", "-d", "-j", "link", "show")),
      ...(await read("ip", "-j", "neigh", "show", "nud", "permanent")),
      ...(await read("bridge", "-j", "fdb", "show")),
      ...(await read("ip", "-j", "route", "show")),
      ...(await read("ip", "-6", "-j", "route", "show")).filter((row) => !row.includes("fe80::")),
    );
    const addresses = await host.json<readonly { readonly addr_info: readonly Row[] }[]>(
      ...["ip", "-j", "address", "show", "dev", link],
    );
    all.push(...plainRows(addresses.flatMap((a) => a.addr_info).filter((a) => a["scope"] !== "link")));
  }
  return all;
}
