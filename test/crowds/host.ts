/** What a host has before the plugins come: links to attach by, and the addresses that there are. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { CniHost } from "../../src/testing/cni-host.ts";
import type { Json } from "../plugins/list-site.ts";
import { MASTER, mains, SUBNET_ENV, subnetFileBeside } from "./plugins.ts";

/**
 * Makes the links that containers attached by the first of these plugins need, each with a peer that gives it a carrier, and
 * what else the list says of its host.
 */
export async function linksOfHost(
  host: CniHost,
  {
    types: [main = ""],
    host: more = [],
  }: { readonly types: readonly string[]; readonly host?: readonly string[] },
  containers: number,
): Promise<void> {
  const device = mains[main]?.device;
  const devices = device ? Array.from({ length: containers }, (_, nth) => device(nth)) : [];
  const lines = [MASTER, ...devices].flatMap((name, i) => [
    `link add ${name} type veth peer name crowd-peer${i}`,
    `link set ${name} up`,
    `link set crowd-peer${i} up`,
  ]);
  await host.exec(["ip", "-batch", "-"], { stdin: `${[...lines, ...more].join("\n")}\n` });
  writeFileSync(subnetFileBeside(dataDirOf(host)), SUBNET_ENV);
}

const dataDirOf = (host: CniHost): string => join(host.dir, "ipam");

/** As many addresses of each family as there are containers, up to 65000: one that is not given back is missed. */
export function ipamOf(host: CniHost, containers: number): Json {
  const last = containers + 1;
  return {
    type: "host-local",
    dataDir: dataDirOf(host),
    ranges: [
      // The first one is the gateway's.
      [{ subnet: "10.98.0.0/16", rangeStart: "10.98.0.2", rangeEnd: `10.98.${last >>> 8}.${last & 0xff}` }],
      [{ subnet: "fd98::/64", rangeStart: "fd98::2", rangeEnd: `fd98::${last.toString(16)}` }],
    ],
    routes: [{ dst: "0.0.0.0/0" }, { dst: "203.0.113.0/24" }, { dst: "2001:db8::/32" }],
  };
}
