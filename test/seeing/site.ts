/**
 * A host with an uplink and networks of several kinds, for the commands that show what is attached:
 *
 *     machine 10.95.0.2 ─ up0 10.95.0.1  host ─ web (bridge), point (ptp), lanes (macvlan on up0)
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CniHost, cniHost } from "../../src/testing/cni-host.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import type { Outcome } from "../../src/testing/run.ts";

type Json = Readonly<Record<string, unknown>>;

export interface Site extends AsyncDisposable {
  readonly host: CniHost;
  /** Attaches a new container, or this one, to a network. Throws if it fails. */
  attach(
    network: string,
    options?: { readonly ports?: readonly Json[]; readonly to?: TestNetns },
  ): Promise<TestNetns>;
  /** Runs `heddle` on the host. */
  heddle(...argv: readonly string[]): Promise<Outcome>;
  /** As `heddle`, with `--json`; what it printed. */
  json<T>(...argv: readonly string[]): Promise<T>;
}

const DNS = { nameservers: ["10.95.0.2"], search: ["example.org"] };

type Ipam = (subnet: string, subnet6?: string) => Json;

function networks(ipam: Ipam): Readonly<Record<string, readonly Json[]>> {
  const webIpam = { ...ipam("10.88.0.0/24"), routes: [{ dst: "0.0.0.0/0" }] };
  const web = { type: "bridge", bridge: "web0", isGateway: true, ipMasq: true, ipam: webIpam, dns: DNS };
  const portmap = { type: "portmap", capabilities: { portMappings: true } };
  const plain = [
    {
      type: "bridge",
      bridge: "plain0",
      isGateway: true,
      ipMasq: true,
      ipam: ipam("10.90.0.0/16", "fd90::/64"),
    },
    portmap,
  ];
  return {
    web: [
      web,
      portmap,
      {
        type: "bandwidth",
        ingressRate: 8_000_000,
        ingressBurst: 800_000,
        egressRate: 4_000_000,
        egressBurst: 400_000,
      },
      { type: "tuning", mac: "0a:58:0a:58:00:99" },
    ],
    plain,
    packed: [
      {
        type: "heddle-chain",
        capabilities: { portMappings: true },
        plugins: [{ ...plain[0], bridge: "packed0", ipam: ipam("10.91.0.0/16") }, portmap],
      },
    ],
    tables: [
      { ...web, bridge: "tables0", ipMasqBackend: "iptables", ipam: ipam("10.89.0.0/24") },
      { ...portmap, backend: "iptables" },
      { type: "firewall", backend: "iptables" },
    ],
    point: [{ type: "ptp", ipMasq: true, ipam: { ...ipam("10.87.0.0/24"), routes: [{ dst: "0.0.0.0/0" }] } }],
    lanes: [{ type: "macvlan", master: "up0", ipam: ipam("10.95.0.0/24") }],
  };
}

export async function seeingSite(heddle: HeddleBinary): Promise<Site> {
  await using stack = new AsyncDisposableStack();
  const host = stack.use(await cniHost(heddle));
  const machine = stack.use(await testNetns());
  await host.exec(["ip", "-batch", "-"], {
    stdin: [
      `link add up0 type veth peer name lan netns ${machine.name}`,
      "link set up0 up",
      "address add 10.95.0.1/24 dev up0",
      "",
    ].join("\n"),
  });
  await machine.exec(["ip", "link", "set", "lan", "up"]);
  await machine.exec(["ip", "address", "add", "10.95.0.2/24", "dev", "lan"]);
  await host.exec(["ip", "route", "add", "default", "via", "10.95.0.2"]);
  const ipam: Ipam = (subnet, subnet6) => ({
    type: "host-local",
    dataDir: join(host.dir, "ipam"),
    ranges: [
      [subnet.startsWith("10.95") ? { subnet, rangeStart: "10.95.0.16", gateway: "10.95.0.2" } : { subnet }],
      ...(subnet6 === undefined ? [] : [[{ subnet: subnet6 }]]),
    ],
  });
  const confDir = join(host.dir, "net.d");
  mkdirSync(confDir, { recursive: true });
  for (const [name, plugins] of Object.entries(networks(ipam)))
    writeFileSync(join(confDir, `${name}.conflist`), JSON.stringify({ cniVersion: "1.0.0", name, plugins }));
  const env = { NETCONFPATH: confDir };
  const owned = stack.move();
  return {
    host,
    async attach(network, { ports = [], to } = {}) {
      const netns = to ?? owned.use(await testNetns());
      const capabilities = ports.length > 0 ? { CAP_ARGS: JSON.stringify({ portMappings: ports }) } : {};
      const { code, stdout, stderr } = await host.cli(["cni", "add", network, netns.path], {
        ...env,
        ...capabilities,
      });
      if (code !== 0) throw new Error(`ADD to ${network} ended with ${code}: ${stderr}${stdout}`);
      return netns;
    },
    heddle: (...argv) => host.cli(argv, env),
    async json<T>(...argv: readonly string[]) {
      const { code, stdout, stderr } = await host.cli([...argv, "--json"], env);
      if (code !== 0) throw new Error(`heddle ${argv.join(" ")} ended with ${code}: ${stderr}${stdout}`);
      return JSON.parse(stdout) as T;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
