/**
 * Real DHCP servers: Debian's packages, unpacked into the cache and not installed. Each runs in a namespace of the test, with
 * the same small network: one address a family to give away, or a range.
 */
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unpackDebian } from "../../scripts/debian.ts";
import { cacheDir } from "../../scripts/paths.ts";
import { errorText } from "../cni/errors.ts";
import { lineLog } from "./line-log.ts";
import type { TestNetns } from "./netns.ts";
import { plainEnv } from "./run.ts";

const PACKAGES = ["dnsmasq-base", "isc-dhcp-server", "kea-dhcp4-server", "kea-dhcp6-server"];

/** The unpacked packages; undefined after printing why they cannot be had. */
export async function dhcpServersTree(): Promise<string | undefined> {
  const root = join(cacheDir("dhcp-servers"), "tree");
  try {
    await unpackDebian(root, "this machine's", (apt) => apt.downloadWithMissing(PACKAGES));
    return root;
  } catch (e) {
    console.warn(`skipped: DHCP servers are not here: ${errorText(e)}`);
    return undefined;
  }
}

export const realServers = ["dnsmasq", "isc", "kea"] as const;
export type RealServer = (typeof realServers)[number];

/** What is to be given: the last part of the first and the last address, and for how long. */
export interface Range {
  readonly first: number;
  readonly last: number;
  readonly leaseSeconds: number;
  readonly renewSeconds: number;
}

/** What one program is started with, and the line by which it says that it listens. */
interface Start {
  readonly argv: readonly string[];
  readonly ready: string;
}

type Maker = (root: string, dir: string, range: Range) => readonly Start[];
const v4 = (n: number): string => `10.9.1.${n}`;
const v6 = (n: number): string => `fd09::1:${n.toString(16)}`;

const makers: Readonly<Record<RealServer, Maker>> = {
  dnsmasq: (root, dir, { first, last, leaseSeconds, renewSeconds }) => [
    {
      argv: [
        join(root, "usr/sbin/dnsmasq"),
        ...["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--pid-file=", "--user=root"],
        ...["--log-facility=-", "--interface=lan", "--bind-interfaces", "--dhcp-authoritative", "--no-ping"],
        `--dhcp-leasefile=${dir}/leases`,
        `--dhcp-range=${v4(first)},${v4(last)},255.255.0.0,${Math.max(leaseSeconds, 120)}`,
        `--dhcp-range=${v6(first)},${v6(last)},64,${Math.max(leaseSeconds, 120)}`,
        `--dhcp-option=option:T1,${renewSeconds}`,
        ...["--dhcp-option=6,10.9.0.53", "--dhcp-option=15,lan.test", "--dhcp-option=119,a.test,b.a.test"],
        ...["--dhcp-option=121,10.5.0.0/16,10.9.0.7", "--dhcp-option=option6:dns-server,[fd09::53]"],
      ],
      ready: "DHCPv6, IP range",
    },
  ],
  isc: (root, dir, { first, last, leaseSeconds, renewSeconds }) => {
    const times = `default-lease-time ${leaseSeconds}; max-lease-time ${leaseSeconds}; min-lease-time ${leaseSeconds};`;
    writeFileSync(
      join(dir, "v4.conf"),
      `${times} authoritative; ping-check false; option dhcp-renewal-time ${renewSeconds};
       option classless-routes code 121 = array of unsigned integer 8;
       subnet 10.9.0.0 netmask 255.255.0.0 { range ${v4(first)} ${v4(last)}; option domain-name-servers 10.9.0.53;
         option domain-name "lan.test"; option domain-search "a.test", "b.a.test";
         option classless-routes 16, 10, 5, 10, 9, 0, 7; }`,
    );
    writeFileSync(
      join(dir, "v6.conf"),
      `${times} option dhcp-renewal-time ${renewSeconds}; option dhcp-rebinding-time ${leaseSeconds - 1};
       preferred-lifetime ${leaseSeconds};
       subnet6 fd09::/64 { range6 ${v6(first)} ${v6(last)}; option dhcp6.name-servers fd09::53; }`,
    );
    return (["4", "6"] as const).map((family) => {
      writeFileSync(join(dir, `v${family}.leases`), "");
      const files = ["-cf", join(dir, `v${family}.conf`), "-lf", join(dir, `v${family}.leases`)];
      return {
        argv: [join(root, "usr/sbin/dhcpd"), `-${family}`, "-f", "-d", "--no-pid", ...files, "lan"],
        ready: "Server starting service",
      };
    });
  },
  kea: (root, dir, { first, last, leaseSeconds, renewSeconds }) => {
    const common = {
      "interfaces-config": { interfaces: ["lan"] },
      "lease-database": { type: "memfile", persist: false },
      "valid-lifetime": leaseSeconds,
      "renew-timer": renewSeconds,
      "rebind-timer": leaseSeconds - 1,
      loggers: [{ name: "*", severity: "INFO", output_options: [{ output: "stderr", flush: true }] }],
    };
    const four = {
      Dhcp4: {
        ...common,
        subnet4: [
          {
            subnet: "10.9.0.0/16",
            pools: [{ pool: `${v4(first)} - ${v4(last)}` }],
            "option-data": [
              { name: "domain-name-servers", data: "10.9.0.53" },
              { name: "domain-name", data: "lan.test" },
              { name: "domain-search", data: "a.test, b.a.test" },
              { code: 121, data: "100A050A090007", "csv-format": false, space: "dhcp4" },
            ],
          },
        ],
        "option-def": [{ name: "routes", code: 121, type: "binary", space: "dhcp4" }],
      },
    };
    const six = {
      Dhcp6: {
        ...common,
        // Otherwise it makes one and writes it into the machine's own /var/lib.
        "server-id": { type: "EN", "enterprise-id": 32473, identifier: "0102030405", persist: false },
        "preferred-lifetime": leaseSeconds,
        subnet6: [
          {
            subnet: "fd09::/64",
            interface: "lan",
            pools: [{ pool: `${v6(first)} - ${v6(last)}` }],
            "option-data": [{ name: "dns-servers", data: "fd09::53" }],
          },
        ],
      },
    };
    return (
      [
        ["kea-dhcp4", four, "DHCP4_STARTED"],
        ["kea-dhcp6", six, "DHCP6_STARTED"],
      ] as const
    ).map(([program, config, ready]) => {
      writeFileSync(join(dir, `${program}.json`), JSON.stringify(config));
      return { argv: [join(root, "usr/sbin", program), "-c", join(dir, `${program}.json`)], ready };
    });
  },
};

/** Starts a server, both families; it listens when this returns, and is gone at the end of the block. */
export async function startRealServer(
  name: RealServer,
  root: string,
  netns: TestNetns,
  dir: string,
  range: Range,
): Promise<AsyncDisposable> {
  const own = join(dir, `${name}-${range.first}`);
  mkdirSync(own, { recursive: true });
  chmodSync(own, 0o777);
  const libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu"];
  const env = {
    ...plainEnv,
    LD_LIBRARY_PATH: libraries.map((l) => join(root, l)).join(":"),
    KEA_PIDFILE_DIR: own,
    KEA_LOCKFILE_DIR: own,
  };
  await using stack = new AsyncDisposableStack();
  for (const { argv, ready } of makers[name](root, own, range)) {
    const child = Bun.spawn(["ip", "netns", "exec", netns.name, "setpriv", "--pdeathsig", "KILL", ...argv], {
      env,
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    stack.defer(async () => {
      child.kill("SIGKILL");
      await child.exited;
    });
    const log = lineLog(child.stderr);
    await log.line((line) => line.includes(ready));
  }
  const started = stack.move();
  return { [Symbol.asyncDispose]: async () => started[Symbol.asyncDispose]() };
}
