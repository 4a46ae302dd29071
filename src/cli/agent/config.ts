/** The agent's configuration file: its keys, their defaults, and what is said about one that nobody knows. */
import { hostname } from "node:os";
import { type AgentSettings, DEFAULT_OWNER, DEFAULT_SOCKET } from "../../agent/settings.ts";
import {
  type Decode,
  decodeAs,
  decoderOf,
  flag,
  integer,
  invalid,
  isObject,
  list,
  object,
  oneOf,
  parsed,
  parseJson,
  refined,
  required,
  text,
  withDefault,
} from "../../cni/json.ts";
import { parseIp } from "../../net/ip.ts";
import { parseFlanneld } from "../../providers/flannel/options.ts";
import { didYouMean } from "../validate/suggest.ts";

const path = refined(text, (value, at) =>
  value.startsWith("/") && !value.includes("\0")
    ? value
    : invalid(at, `must be an absolute path, not "${value}"`),
);
const someText = refined(text, (value, at) => (value === "" ? invalid(at, "must not be empty") : value));
const ip = refined(parsed(parseIp), (value) => value.text);
const port = integer({ min: 1, max: 65_535 });

const etcdKeys = {
  endpoints: required(list(someText)),
  prefix: someText,
  caFile: path,
  certFile: path,
  keyFile: path,
  username: someText,
  passwordFile: path,
};
const kubernetesKeys = {
  kubeconfig: path,
  apiUrl: someText,
  annotationPrefix: someText,
  netConfigPath: path,
  setNodeNetworkUnavailable: flag,
};
const stores = {
  file: object({ type: text, dir: required(path), prefix: someText }),
  etcd: object({ type: text, ...etcdKeys }),
  kubernetes: object({ type: text, ...kubernetesKeys }),
} as const;
const storeType = object({ type: required(oneOf("file", "etcd", "kubernetes")) });

const ownerName = refined(text, (value, at) =>
  /^[A-Za-z0-9-]{1,80}$/.test(value)
    ? value
    : invalid(at, `"${value}" is not 1 to 80 letters, digits and dashes`),
);

const document = object({
  node: someText,
  name: withDefault(ownerName, DEFAULT_OWNER.name),
  // Below 5 are the kernel's and what people type.
  routeProtocol: withDefault(integer({ min: 5, max: 255 }), DEFAULT_OWNER.routeProtocol),
  provider: withDefault(oneOf("flannel"), "flannel"),
  store: required(storeType),
  interface: object({ names: list(someText), patterns: list(someText), canReach: ip }),
  publicIP: ip,
  publicIPv6: ip,
  subnetFile: path,
  masquerade: withDefault(flag, false),
  fullyRandom: withDefault(flag, true),
  acceptForwarded: withDefault(flag, true),
  blackholeRoute: withDefault(flag, false),
  renewMarginMinutes: integer({ min: 1, max: 1439 }),
  resyncSeconds: integer({ min: 1, max: 86_400 }),
  wireguardKeyFile: path,
  api: object({ socket: path, group: someText }),
  http: object({ address: withDefault(ip, "127.0.0.1"), port: required(port) }),
  log: object({
    format: withDefault(oneOf("text", "json"), "text"),
    level: withDefault(oneOf("info", "warning", "error"), "info"),
    changes: withDefault(flag, false),
  }),
});

/** Reads a secret; a line's end is not part of it. */
export type ReadFile = (path: string) => string;

/**
 * Reads the file's text. `node` is what this host is called if the file does not say.
 * @throws decode/malformed, with the key and what is wrong; usage/invalid for values that contradict one another
 */
export function readAgentConfig(source: string, read: ReadFile, node = hostname()): AgentSettings {
  const what = "the agent's configuration";
  const raw = parseJson(source, what);
  return decodeAs(
    what,
    (value) => {
      refuseUnknown(value, document, "");
      const store = isObject(value) ? value["store"] : undefined;
      const doc = document(value, "");
      refuseUnknown(store, stores[doc.store.type], "store");
      return settingsOf(doc, store, read, node);
    },
    raw,
  );
}

/** A misspelt key would otherwise be a setting that silently is not there. */
function refuseUnknown(value: unknown, decode: Decode<unknown>, at: string): void {
  const { inner } = decode;
  if (inner?.kind !== "object" || !isObject(value)) return;
  const known = Object.keys(inner.fields);
  for (const [key, below] of Object.entries(value)) {
    const name = known.find((k) => k.toLowerCase() === key.toLowerCase());
    const here = at === "" ? key : `${at}.${key}`;
    if (name === undefined) invalid(here, `is not a key of this file${didYouMean(key, known)}`);
    // The keys of a store depend on its type.
    const field = inner.fields[name];
    if (field !== undefined && here.toLowerCase() !== "store") refuseUnknown(below, decoderOf(field), here);
  }
}

type Document = ReturnType<typeof document>;

/** Everything that flanneld has a flag for is read as that flag is: one meaning, one set of checks. */
function settingsOf(doc: Document, store: unknown, read: ReadFile, host: string): AgentSettings {
  const node = doc.node ?? host;
  const { flags, env, file } = storeFlags(doc.store.type, store, read, node);
  const call = parseFlanneld([...flags, ...commonFlags(doc)], {
    ...env,
    ...(doc.wireguardKeyFile === undefined ? {} : { WIREGUARD_KEY_FILE: doc.wireguardKeyFile }),
  });
  if (call.kind !== "run") return invalid("", "does not start an agent");
  const { store: flannelStore, health: _, verbosity: __, ...flannel } = call.options;
  return {
    node,
    owner: { name: doc.name, routeProtocol: doc.routeProtocol },
    flannel: { ...flannel, store: file ?? flannelStore },
    api: {
      socket: doc.api?.socket ?? DEFAULT_SOCKET,
      ...(doc.api?.group === undefined ? {} : { group: doc.api.group }),
    },
    ...(doc.http === undefined ? {} : { http: { host: doc.http.address, port: doc.http.port } }),
    log: {
      format: doc.log?.format ?? "text",
      least: doc.log?.level ?? "info",
      changes: doc.log?.changes ?? false,
    },
  };
}

const given = (name: string, value: string | number | boolean | undefined): readonly string[] =>
  value === undefined ? [] : [`--${name}=${value}`];

function commonFlags(doc: Document): readonly string[] {
  return [
    ...(doc.interface?.names ?? []).flatMap((name) => given("iface", name)),
    ...(doc.interface?.patterns ?? []).flatMap((pattern) => given("iface-regex", pattern)),
    ...given("iface-can-reach", doc.interface?.canReach),
    ...given("public-ip", doc.publicIP),
    ...given("public-ipv6", doc.publicIPv6),
    ...given("subnet-file", doc.subnetFile),
    ...given("ip-masq", doc.masquerade),
    ...given("ip-masq-fully-random-disable", !doc.fullyRandom),
    ...given("iptables-forward-rules", doc.acceptForwarded),
    ...given("ip-blackhole-route", doc.blackholeRoute),
    ...given("subnet-lease-renew-margin", doc.renewMarginMinutes),
    ...given("iptables-resync", doc.resyncSeconds),
  ];
}

interface StoreFlags {
  readonly flags: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly file?: { readonly kind: "file"; readonly dir: string; readonly prefix: string };
}

const DEFAULT_PREFIX = "/coreos.com/network";

function storeFlags(type: keyof typeof stores, value: unknown, read: ReadFile, node: string): StoreFlags {
  if (type === "file") {
    const { dir, prefix = DEFAULT_PREFIX } = stores.file(value, "store");
    return { flags: [], env: {}, file: { kind: "file", dir, prefix } };
  }
  if (type === "etcd") {
    const store = stores.etcd(value, "store");
    const password = store.passwordFile === undefined ? undefined : read(store.passwordFile);
    return {
      flags: [
        ...given("etcd-endpoints", store.endpoints.join(",")),
        ...given("etcd-prefix", store.prefix),
        ...given("etcd-cafile", store.caFile),
        ...given("etcd-certfile", store.certFile),
        ...given("etcd-keyfile", store.keyFile),
        ...given("etcd-username", store.username),
      ],
      env: password === undefined ? {} : { FLANNELD_ETCD_PASSWORD: password.replace(/\r?\n$/, "") },
    };
  }
  const store = stores.kubernetes(value, "store");
  return {
    flags: [
      "--kube-subnet-mgr",
      ...given("kubeconfig-file", store.kubeconfig),
      ...given("kube-api-url", store.apiUrl),
      ...given("kube-annotation-prefix", store.annotationPrefix),
      ...given("net-config-path", store.netConfigPath),
      ...given("set-node-network-unavailable", store.setNodeNetworkUnavailable),
    ],
    env: { NODE_NAME: node },
  };
}
