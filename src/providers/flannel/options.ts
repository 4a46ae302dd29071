import { NetError } from "../../errors.ts";
import type { Publics } from "../../fabric/model.ts";
import { type Family, type Ip, parseIp } from "../../net/ip.ts";
import {
  flagNames,
  flags,
  isFlagName,
  type FlagName,
  variableOf,
  variables,
  WIREGUARD_KEY_FILE,
} from "./flags.ts";

/**
 * What flanneld is told on its command line and in its environment, as one value. Flags are read as Go's flag package does:
 * one dash or two, a value behind `=` or in the next word, for a switch behind `=` alone.
 */
export interface FlanneldOptions {
  /** Where subnets come from. */
  readonly store: EtcdOptions | KubernetesOptions;
  readonly external: ExternalWish;
  readonly subnetFile: string;
  readonly renewMarginMinutes: number;
  /** Absent: what leaves the network is not masqueraded. */
  readonly masquerade?: { readonly fullyRandom: boolean };
  readonly acceptForwarded: boolean;
  readonly blackholeRoute: boolean;
  readonly resyncSeconds: number;
  /** Absent: nothing is served. */
  readonly health?: { readonly host: string; readonly port: number };
  readonly verbosity: number;
  readonly wireguardKeyFile: string;
}

export interface EtcdOptions {
  readonly kind: "etcd";
  readonly endpoints: readonly string[];
  readonly prefix: string;
  /** Paths of PEM files. */
  readonly client?: { readonly keyFile: string; readonly certFile: string };
  readonly caFile?: string;
  /** Not for the log. */
  readonly login?: { readonly username: string; readonly password: string };
}

export interface KubernetesOptions {
  readonly kind: "kubernetes";
  readonly apiUrl?: string;
  readonly kubeconfigFile?: string;
  readonly annotationPrefix: string;
  readonly netConfigPath: string;
  readonly setNodeNetworkUnavailable: boolean;
  /** The name of this host's node, or the pod that knows it. */
  readonly node: { readonly name: string } | { readonly pod: string; readonly namespace: string };
}

/** Which interface leads to the other hosts, as it was asked for; first `names`, then `patterns`, then `canReach`. */
export interface ExternalWish {
  readonly names: readonly (Ip | string)[];
  readonly patterns: readonly RegExp[];
  readonly canReach?: Ip;
  /** What is announced in place of the interface's own addresses. */
  readonly publics: Publics;
}

export type FlanneldCall =
  | { readonly kind: "help" }
  | { readonly kind: "version" }
  /** `notes`: what was given and changes nothing, a sentence each. */
  | { readonly kind: "run"; readonly options: FlanneldOptions; readonly notes: readonly string[] };

type Env = Readonly<Record<string, string | undefined>>;
type Values = ReadonlyMap<FlagName, readonly string[]>;

/** @throws usage/invalid, naming the flag or the variable */
export function parseFlanneld(args: readonly string[], env: Env): FlanneldCall {
  const given = new Map<FlagName, string[]>();
  for (let at = 0; at < args.length;) {
    const word = args[at] ?? "";
    const { name, value, length } = readFlag(word, args[at + 1]);
    if (name === "help") return { kind: "help" };
    const flag = flags[name];
    const before = flag.kind === "list" ? (given.get(name) ?? []) : [];
    given.set(name, [...before, value]);
    at += length;
  }
  // Before the variables, as with flanneld.
  if (switchOf(given, "version")) return { kind: "version" };
  for (const name of flagNames) {
    const value = env[variableOf(name)];
    if (value !== undefined && value !== "" && !given.has(name)) given.set(name, [value]);
  }
  return { kind: "run", options: optionsOf(given, env), notes: notesOf(given, env) };
}

function refuse(why: string): never {
  throw new NetError("usage/invalid", { why });
}

interface Read {
  readonly name: FlagName | "help";
  readonly value: string;
  /** Words taken. */
  readonly length: number;
}

function readFlag(word: string, next: string | undefined): Read {
  const match = /^--?([^-=][^=]*)(?:=([\s\S]*))?$/.exec(word);
  if (match === null)
    return refuse(`"${word}" is not a flag; a switch takes its value behind "=", as --ip-masq=true`);
  const [, name = "", value] = match;
  if (name === "h" || name === "help") return { name: "help", value: "", length: 1 };
  if (!isFlagName(name)) return refuse(`flanneld has no flag --${name}; --help lists those that it has`);
  if (value !== undefined) return { name, value, length: 1 };
  if (flags[name].kind === "switch") return { name, value: "true", length: 1 };
  if (next === undefined) return refuse(`--${name}: needs a value`);
  return { name, value: next, length: 2 };
}

const textOf = (values: Values, name: FlagName): string => values.get(name)?.at(-1) ?? flags[name].default;

/** The empty text is the same as none. */
const someText = (values: Values, name: FlagName): string | undefined => textOf(values, name) || undefined;

/** The words of Go's strconv.ParseBool. */
const YES = ["1", "t", "T", "TRUE", "true", "True"];
const NO = ["0", "f", "F", "FALSE", "false", "False"];
function switchOf(values: Values, name: FlagName): boolean {
  const word = textOf(values, name);
  if (YES.includes(word)) return true;
  return NO.includes(word) ? false : refuse(`--${name}: "${word}" is neither true nor false`);
}

function numberOf(values: Values, name: FlagName, least: number, most: number): number {
  const word = textOf(values, name);
  const value = /^[+-]?\d{1,10}$/.test(word) ? Number(word) : Number.NaN;
  if (!Number.isInteger(value)) return refuse(`--${name}: "${word}" is not a whole number`);
  if (value < least || value > most) return refuse(`--${name}: ${value} is not within ${least} and ${most}`);
  return value;
}

function ipOf(values: Values, name: FlagName, family?: Family): Ip | undefined {
  const word = textOf(values, name);
  if (word === "") return undefined;
  const parsed = parseIp(word);
  if (!parsed.ok) return refuse(`--${name}: ${parsed.why}`);
  if (family !== undefined && parsed.value.family !== family)
    return refuse(`--${name}: ${word} is not of IPv${family}`);
  return parsed.value;
}

function optionsOf(values: Values, env: Env): FlanneldOptions {
  const port = numberOf(values, "healthz-port", 0, 65535);
  const masquerade = { fullyRandom: !switchOf(values, "ip-masq-fully-random-disable") };
  return {
    store: switchOf(values, "kube-subnet-mgr") ? kubernetesOf(values, env) : etcdOf(values),
    external: externalOf(values),
    subnetFile: textOf(values, "subnet-file") || refuse("--subnet-file: needs a path"),
    renewMarginMinutes: numberOf(values, "subnet-lease-renew-margin", 1, 24 * 60 - 1),
    ...(switchOf(values, "ip-masq") ? { masquerade } : {}),
    acceptForwarded: switchOf(values, "iptables-forward-rules"),
    blackholeRoute: switchOf(values, "ip-blackhole-route"),
    resyncSeconds: numberOf(values, "iptables-resync", 1, 86_400),
    ...(port === 0 ? {} : { health: { host: healthHost(values), port } }),
    verbosity: numberOf(values, "v", -1, 1000),
    wireguardKeyFile: env["WIREGUARD_KEY_FILE"] || WIREGUARD_KEY_FILE,
  };
}

function healthHost(values: Values): string {
  const word = textOf(values, "healthz-ip");
  return word === "localhost" ? word : (ipOf(values, "healthz-ip")?.text ?? "0.0.0.0");
}

function etcdOf(values: Values): EtcdOptions {
  const endpoints = textOf(values, "etcd-endpoints").split(",").map(endpointOf);
  const keyFile = someText(values, "etcd-keyfile");
  const certFile = someText(values, "etcd-certfile");
  if ((keyFile === undefined) !== (certFile === undefined))
    refuse(
      `--etcd-${keyFile === undefined ? "keyfile" : "certfile"}: is missing: key and certificate belong together`,
    );
  const caFile = someText(values, "etcd-cafile");
  const username = someText(values, "etcd-username");
  const password = textOf(values, "etcd-password");
  if (username === undefined && password !== "") refuse("--etcd-username: is missing for the password");
  return {
    kind: "etcd",
    endpoints,
    prefix: textOf(values, "etcd-prefix"),
    ...(keyFile !== undefined && certFile !== undefined ? { client: { keyFile, certFile } } : {}),
    ...(caFile === undefined ? {} : { caFile }),
    ...(username === undefined ? {} : { login: { username, password } }),
  };
}

/** etcd's own programs take an endpoint without a scheme, too. */
function endpointOf(word: string): string {
  const url = URL.parse(/^[a-z]+:\/\//.test(word) ? word : `http://${word}`);
  if (url === null || !["http:", "https:"].includes(url.protocol) || url.host === "")
    return refuse(`--etcd-endpoints: "${word}" is no address, as http://192.0.2.1:2379`);
  return url.origin;
}

function kubernetesOf(values: Values, env: Env): KubernetesOptions {
  const apiUrl = someText(values, "kube-api-url");
  const kubeconfigFile = someText(values, "kubeconfig-file");
  const { NODE_NAME: name = "", POD_NAME: pod = "", POD_NAMESPACE: namespace = "" } = env;
  if (name === "" && (pod === "" || namespace === ""))
    refuse("--kube-subnet-mgr: needs NODE_NAME in the environment, or POD_NAME and POD_NAMESPACE");
  if (apiUrl !== undefined && !/^https?:$/.test(URL.parse(apiUrl)?.protocol ?? ""))
    refuse(`--kube-api-url: "${apiUrl}" is no address, as https://192.0.2.1:6443`);
  return {
    kind: "kubernetes",
    ...(apiUrl === undefined ? {} : { apiUrl }),
    ...(kubeconfigFile === undefined ? {} : { kubeconfigFile }),
    annotationPrefix: textOf(values, "kube-annotation-prefix"),
    netConfigPath: textOf(values, "net-config-path"),
    setNodeNetworkUnavailable: switchOf(values, "set-node-network-unavailable"),
    node: name === "" ? { pod, namespace } : { name },
  };
}

function externalOf(values: Values): ExternalWish {
  const canReach = ipOf(values, "iface-can-reach");
  const v4 = ipOf(values, "public-ip", 4);
  const v6 = ipOf(values, "public-ipv6", 6);
  const words = (name: FlagName): readonly string[] => (values.get(name) ?? []).filter((word) => word !== "");
  return {
    names: words("iface").map((word) => {
      const ip = parseIp(word);
      return ip.ok ? ip.value : word;
    }),
    patterns: words("iface-regex").map(patternOf),
    ...(canReach === undefined ? {} : { canReach }),
    publics: { ...(v4 ? { v4 } : {}), ...(v6 ? { v6 } : {}) },
  };
}

/**
 * The expression of a user of Go: flags in front become ours, and an escaped sign of no meaning is that sign. What
 * JavaScript would read as something else is refused.
 */
function patternOf(source: string): RegExp {
  const wrong = (why: string): never => refuse(`--iface-regex: "${source}" ${why}`);
  const front = /^\(\?([a-zA-Z]+)\)/.exec(source);
  const [whole = "", letters = ""] = front ?? [];
  if (/[^ims]/.test(letters)) return wrong(`begins with (?${letters}); of such letters i, m and s are known`);
  if (/\[:\^?\w+:\]/.test(source))
    return wrong("has a class in [: and :], which is not known here: name its characters");
  const sign = (all: string, c: string): string =>
    /[!-/:-@[-`{-~ ]/.test(c) && c !== "_" ? `\\x${c.charCodeAt(0).toString(16)}` : all;
  const rest = source.slice(whole.length).replaceAll(/\\([\s\S])/g, sign);
  try {
    return new RegExp(rest, `u${[...new Set(letters)].join("")}`);
  } catch (e) {
    return wrong(`cannot be read: ${(e as Error).message}`);
  }
}

function notesOf(values: Values, env: Env): readonly string[] {
  const known = new Set<string>(flagNames.map(variableOf));
  const idle = (what: string, entry: object): readonly string[] =>
    "withoutEffect" in entry ? [`${what} has no effect: ${String(entry.withoutEffect)}`] : [];
  return [
    ...[...values.keys()].flatMap((name) => idle(`--${name}`, flags[name])),
    ...Object.entries(variables).flatMap(([name, entry]) => (env[name] ? idle(name, entry) : [])),
    ...Object.keys(env)
      .filter((name) => name.startsWith("FLANNELD_") && !known.has(name))
      .map((name) => `${name} has no effect: flanneld has no such flag`),
  ];
}
