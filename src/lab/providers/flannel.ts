/**
 * Flannel: an agent in each host, over a store that all of them reach, and containers by the plugin `flannel`. The store is a
 * directory that hosts share, or etcd in the router.
 */
import { decodeAs, integer, isObject, type JsonObject, object, parseJson, required } from "../../cni/json.ts";
import { isNetError, NetError } from "../../errors.ts";
import type { Kv } from "../../fabric/store/kv.ts";
import type { Ip } from "../../net/ip.ts";
import type { LabSpec } from "../model.ts";
import type { HostInput, LabInput, Provider, Setup } from "../provider.ts";
import { familiesOf } from "../underlay.ts";

const CONFIG_KEY = "/coreos.com/network/config";
const SUBNET_FILE = "/run/flannel/subnet.env";
const AGENT_FILE = "/var/lib/heddle/agent.json";
const CLIENT_PORT = 2379;
/** etcd's own members; there is one, and nobody else asks it. */
const PEER_URL = "http://127.0.0.1:2380";

const urlOf = ({ family, text }: Ip): string => `http://${family === 4 ? text : `[${text}]`}:${CLIENT_PORT}`;
const directoryOf = (shared: string): string => `${shared}/store`;

/** `vxlan`, or the whole of `Backend` as JSON: `{"Type":"vxlan","DirectRouting":true}`. */
function backendOf({ backend }: LabSpec): JsonObject {
  if (!/^[{["]/.test(backend)) return { Type: backend };
  try {
    const value = parseJson(backend, "--backend");
    if (isObject(value)) return value;
  } catch (cause) {
    if (!isNetError(cause, "decode/malformed")) throw cause;
    throw new NetError("usage/invalid", { why: `--backend: ${cause.detail.why}` }, { cause });
  }
  throw new NetError("usage/invalid", { why: "--backend: must be a name or an object" });
}

/** The network's configuration, as flanneld reads it from its store. */
function networkConfig(spec: LabSpec): string {
  const families = familiesOf(spec);
  return JSON.stringify({
    ...(families.includes(4) ? { Network: "10.244.0.0/16", SubnetLen: 24 } : { EnableIPv4: false }),
    ...(families.includes(6) ? { EnableIPv6: true, IPv6Network: "fd00:244::/48", IPv6SubnetLen: 64 } : {}),
    Backend: backendOf(spec),
  });
}

/** By the agent's own reading, before there are hosts in which all of them would fail. */
async function check(spec: LabSpec): Promise<void> {
  const { readNetwork } = await import("../../providers/flannel/provider.ts");
  const read = readNetwork(networkConfig(spec), { blackholeRoute: false });
  if (!read.ok) throw new NetError("usage/invalid", { why: `--backend: ${read.why}` });
}

const agentConfig = ({ spec, host, shared }: HostInput): JsonObject => ({
  node: host.name,
  store:
    spec.store === "file"
      ? { type: "file", dir: directoryOf(shared) }
      : { type: "etcd", endpoints: host.gateways.map(urlOf) },
  masquerade: true,
});

const list = {
  cniVersion: "1.1.0",
  name: "cbr0",
  plugins: [
    { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};

const text = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

function setup(input: HostInput): Setup {
  return {
    files: { [AGENT_FILE]: text(agentConfig(input)), "/etc/cni/net.d/10-flannel.conflist": text(list) },
    programs: [{ name: "agent", argv: ["heddle", "agent", "--config", AGENT_FILE] }],
    readyWhen: [SUBNET_FILE],
    joined: {
      argv: ["heddle", "agent", "status", "--json"],
      isSo: (printed) => peersIn(printed) >= input.spec.hosts - 1,
    },
  };
}

const readStatus = object({ nodes: required(object({ peers: required(integer({ min: 0 })) })) });
const peersIn = (printed: string): number =>
  decodeAs("status of the agent", readStatus, parseJson(printed, "status of the agent")).nodes.peers;

function router({ spec, underlay, shared }: LabInput): Setup {
  const programs: Setup["programs"] =
    spec.store === "etcd" ? [{ name: "etcd", argv: etcd(underlay, shared) }] : [];
  return { files: {}, programs, readyWhen: [] };
}

function etcd({ subnets }: LabInput["underlay"], shared: string): readonly string[] {
  const urls = [...subnets.flatMap(({ router: own }) => own.map(({ ip }) => urlOf(ip))), LOCAL].join(",");
  return [
    ...["etcd", "--name=lab", `--data-dir=${shared}/etcd`, "--unsafe-no-fsync"],
    ...[`--listen-client-urls=${urls}`, `--advertise-client-urls=${urls}`],
    ...[`--listen-peer-urls=${PEER_URL}`, `--initial-advertise-peer-urls=${PEER_URL}`],
    `--initial-cluster=lab=${PEER_URL}`,
  ];
}
const LOCAL = `http://127.0.0.1:${CLIENT_PORT}`;

/** What a store may take to answer for the first time. */
const STORE_LIMIT_MS = 20_000;
const STEP_MS = 50;

async function prepare(input: LabInput): Promise<void> {
  const kv = await openStore(input);
  for (const deadline = performance.now() + STORE_LIMIT_MS; ; await Bun.sleep(STEP_MS)) {
    try {
      await kv.put(CONFIG_KEY, networkConfig(input.spec));
      return;
    } catch (e) {
      if (!(e instanceof NetError && e.is("store/unavailable")) || performance.now() > deadline) throw e;
    }
  }
}

async function openStore({ spec, shared }: LabInput): Promise<Kv> {
  if (spec.store === "file") {
    const { openFileStore } = await import("../../fabric/store/file.ts");
    return openFileStore({ dir: directoryOf(shared) });
  }
  const { openEtcd } = await import("../../fabric/store/etcd.ts");
  return openEtcd({ endpoints: [LOCAL] });
}

export const flannel: Provider = { joinsHosts: true, defaultBackend: "vxlan", check, setup, router, prepare };
