/** The programs that measure what crosses a network: iperf3, ping and ethtool of Debian, unpacked and not installed. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { unpackDebian } from "../scripts/debian.ts";
import { cacheDir } from "../scripts/paths.ts";

export interface Meters {
  readonly iperf3: string;
  readonly ping: string;
  readonly ethtool: string;
  /** What they run with. */
  readonly env: Readonly<Record<string, string>>;
}

/** What iperf3 tells of a run; `sum` of UDP alone. */
export interface IperfResult {
  readonly end: {
    readonly sum_received: { readonly bits_per_second: number };
    readonly sum: { readonly packets?: number; readonly lost_packets?: number; readonly seconds: number };
    /** Of one processor, in parts of a hundred. */
    readonly cpu_utilization_percent: { readonly host_total: number; readonly remote_total: number };
  };
}

const PACKAGES = ["iperf3", "ethtool", "iputils-ping"];

/** @throws if apt is not there or cannot fetch a package */
export async function prepareMeters(): Promise<Meters> {
  const tree = join(cacheDir("bench-forwarder"), "tree");
  await unpackDebian(tree, "this machine's", (apt) => apt.downloadWithMissing(PACKAGES));
  const find = (name: string): string => {
    const path = ["usr/bin", "usr/sbin", "bin", "sbin"]
      .map((dir) => join(tree, dir, name))
      .find((one) => existsSync(one));
    if (path === undefined) throw new Error(`${name} is not in ${PACKAGES.join(", ")}`);
    return path;
  };
  const libraries = ["usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu"].map((dir) => join(tree, dir));
  return {
    iperf3: find("iperf3"),
    ping: find("ping"),
    ethtool: find("ethtool"),
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LD_LIBRARY_PATH: libraries.join(":") },
  };
}
