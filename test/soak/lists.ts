/** Containers of `heddle cni`: a namespace with a web server in it, attached by one of several lists. */
import { existsSync, rmSync } from "node:fs";
import { plainEnv } from "../../src/testing/run.ts";
import type { Ground } from "../runtimes/ground.ts";
import type { Driver } from "./model.ts";
import { LAN, UNDERLAY } from "./site.ts";

/** The first addresses are the host's. */
const hostLocal = (subnet: string) => ({
  type: "host-local",
  ranges: [[{ subnet, rangeStart: subnet.replace("0/24", "10") }]],
  routes: [{ dst: "0.0.0.0/0" }],
});
const portmap = { type: "portmap", capabilities: { portMappings: true } };

/** Plugins of each list, by the network's name. */
const networks = {
  solo: [
    { type: "bridge", bridge: "solo0", isGateway: true, ipMasq: true, ipam: hostLocal("10.90.0.0/24") },
    portmap,
    { type: "firewall" },
    { type: "tuning", sysctl: { "net.core.somaxconn": "500" } },
  ],
  wire: [
    { type: "ptp", ipMasq: true, ipam: hostLocal("10.92.0.0/24") },
    portmap,
    { type: "bandwidth", ingressRate: 80_000_000, ingressBurst: 80_000_000 },
  ],
  shim: [
    { type: "macvlan", master: UNDERLAY.link, hostAccess: true, ipam: hostLocal(UNDERLAY.subnet) },
    portmap,
  ],
  leased: [{ type: "bridge", bridge: LAN.bridge, ipam: { type: "dhcp" } }],
} as const;
export type ListName = keyof typeof networks;
/** The lists of each runtime that is `heddle cni`. */
export const listsOf = { lists: ["solo", "wire", "shim"], dhcp: ["leased"] } as const satisfies Readonly<
  Record<string, readonly ListName[]>
>;

/** Writes the lists where every runtime of the host looks for them, behind the one that containerd takes. */
export function writeLists(on: Ground): void {
  for (const name of Object.values(listsOf).flat()) {
    const list = { cniVersion: "1.1.0", name, plugins: networks[name] };
    on.write(`/etc/cni/net.d/20-${name}.conflist`, JSON.stringify(list));
  }
}

/** The file that the plugins are links to: so they can run inside its process. */
const HEDDLE = "/opt/cni/bin/heddle";

interface Attached {
  readonly list: ListName;
  /** Of the web server, as the ground counts. */
  readonly server: string | undefined;
}

/**
 * `roll` chooses the list and whether plugins are processes of their own; `took` is told how long ADD and DEL of a list
 * take.
 */
export function listsDriver(
  on: Ground,
  lists: readonly ListName[],
  size: Pick<Driver, "most" | "lanes" | "ports">,
  roll: (below: number) => number,
  took: (verb: "ADD" | "DEL", ms: number) => void,
): Driver {
  const attached = new Map<string, Attached>();
  const cni = async (
    verb: "ADD" | "DEL",
    list: ListName,
    name: string,
    port: number | undefined,
  ): Promise<string> => {
    const mappings = port === undefined ? [] : [{ hostPort: port, containerPort: 80, protocol: "tcp" }];
    const env = {
      ...plainEnv,
      CNI_PATH: "/opt/cni/bin",
      ...(verb === "ADD" ? { CAP_ARGS: JSON.stringify({ portMappings: mappings }) } : {}),
    };
    const apart = roll(2) === 0 ? ["--no-in-process"] : [];
    const argv = [HEDDLE, "cni", verb.toLowerCase(), ...apart, list, `/run/netns/${name}`];
    const began = performance.now();
    const { stdout } = await on.exec(argv, { env, timeoutMs: 60_000 });
    took(verb, performance.now() - began);
    return stdout;
  };
  return {
    ...size,
    start: async (name, port) => {
      const list = lists[roll(lists.length)] ?? "solo";
      attached.set(name, { list, server: undefined });
      on.write(`/srv/${name}/index.html`, name);
      await on.exec(["ip", "netns", "add", name]);
      const address = addressIn(await cni("ADD", list, name, port));
      const serve = `busybox httpd -f -p 80 -h /srv/${name} > /dev/null 2>&1 < /dev/null & echo $!`;
      const { stdout } = await on.exec(["ip", "netns", "exec", name, "sh", "-ec", serve]);
      attached.set(name, { list, server: stdout.trim() });
      return { addresses: [address], id: name, page: name };
    },
    stop: async (name) => {
      const { list, server } = attached.get(name) ?? {};
      if (list === undefined) return;
      if (server !== undefined) await on.exec(["busybox", "kill", "-9", server], { mustSucceed: false });
      await cni("DEL", list, name, undefined);
      // Somebody may have taken it away, or be about to.
      const { stderr } = await on.exec(["ip", "netns", "delete", name], { mustSucceed: false });
      if (existsSync(on.path(`/run/netns/${name}`))) throw new Error(stderr);
      rmSync(on.path(`/srv/${name}`), { recursive: true, force: true });
      attached.delete(name);
    },
  };
}

/** The first address of a result. */
function addressIn(result: string): string {
  const { ips = [] } = JSON.parse(result) as { readonly ips?: readonly { readonly address: string }[] };
  return ips[0]?.address.split("/")[0] ?? "";
}
