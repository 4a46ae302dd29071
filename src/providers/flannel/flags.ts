/**
 * The flags and variables of flanneld, as data: what each is, its default, and what it does here. The parser, the usage text
 * and the manual's table are made of it or compared with it.
 */

/** How the words of a flag are read, as Go's flag package does. */
export type FlagKind = "text" | "number" | "switch" | "list";

interface Flag {
  readonly kind: FlagKind;
  /** As it would be written. */
  readonly default: string;
  readonly about: string;
  /** Absent: it works. Else why it is accepted and changes nothing. */
  readonly withoutEffect?: string;
}

const text = (value: string, about: string): Flag => ({ kind: "text", default: value, about });
const number = (value: number, about: string): Flag => ({ kind: "number", default: `${value}`, about });
const yesNo = (value: boolean, about: string): Flag => ({ kind: "switch", default: `${value}`, about });
const list = (about: string): Flag => ({ kind: "list", default: "", about });

export const flags = {
  "etcd-endpoints": text(
    "http://127.0.0.1:4001,http://127.0.0.1:2379",
    "members of etcd, separated by commas; the first that answers is used",
  ),
  "etcd-prefix": text("/coreos.com/network", "where the network's keys are in etcd"),
  "etcd-keyfile": text("", "private key of the client, a PEM file"),
  "etcd-certfile": text("", "certificate of the client, a PEM file"),
  "etcd-cafile": text("", "certificates of the authorities that etcd's are checked with, a PEM file"),
  "etcd-username": text("", "user of etcd"),
  "etcd-password": text(
    "",
    "that user's password; FLANNELD_ETCD_PASSWORD keeps it out of the list of processes",
  ),
  iface: list("name or address of the interface to the other hosts; of several the first that is there"),
  "iface-regex": list(
    "expression for the address, else the name, of that interface; asked after --iface, in order",
  ),
  "iface-can-reach": text("", "address that the interface must lead to; asked after --iface-regex"),
  "public-ip": text("", "IPv4 address that the others reach this host by"),
  "public-ipv6": text("", "IPv6 address that the others reach this host by"),
  "subnet-file": text("/run/flannel/subnet.env", "where the host's subnet and MTU are told"),
  "subnet-lease-renew-margin": number(60, "minutes before its end that the lease is renewed, 1 to 1439"),
  "ip-masq": yesNo(false, "masquerade what leaves the network"),
  "ip-masq-fully-random-disable": yesNo(
    false,
    "leave the choice of masqueraded ports to the kernel's default",
  ),
  "iptables-resync": number(5, "seconds from one look at the firewall rules to the next, 1 to 86400"),
  "iptables-forward-rules": yesNo(true, "accept forwarded packets of the network"),
  "ip-blackhole-route": yesNo(false, "drop what is for addresses of the host's subnet that nobody has"),
  "kube-subnet-mgr": yesNo(false, "take the subnet from this host's node in Kubernetes, not from etcd"),
  "kube-api-url": text("", "address of the Kubernetes API; not needed in a pod"),
  "kubeconfig-file": text("", "kubeconfig file; not needed in a pod"),
  "kube-annotation-prefix": text("flannel.alpha.coreos.com", "what the annotations of nodes begin with"),
  "net-config-path": text(
    "/etc/kube-flannel/net-conf.json",
    "the network's configuration, with --kube-subnet-mgr",
  ),
  "set-node-network-unavailable": yesNo(true, "clear the node's condition NetworkUnavailable when ready"),
  "healthz-ip": text("0.0.0.0", "address that /healthz and /readyz are served on"),
  "healthz-port": number(0, "port that they are served on; 0: they are not"),
  version: yesNo(false, "print the version and end"),
  v: number(0, "how much is logged; from 1 on also each change of the kernel"),
  vmodule: {
    ...text("", "how much is logged, by source file"),
    withoutEffect: "names source files of flanneld, which are not here",
  },
  log_backtrace_at: {
    ...text("", "where a stack is logged"),
    withoutEffect: "names source lines of flanneld, which are not here",
  },
} as const satisfies Readonly<Record<string, Flag>>;

export type FlagName = keyof typeof flags;
export const flagNames = Object.keys(flags) as readonly FlagName[];
export const isFlagName = (name: string): name is FlagName => Object.hasOwn(flags, name);

/** The variable that stands for a flag which the command line does not have. */
export const variableOf = (flag: FlagName): string => `FLANNELD_${flag.toUpperCase().replaceAll("-", "_")}`;

/** Where the private key of WireGuard is unless somebody says otherwise. */
export const WIREGUARD_KEY_FILE = "/run/flannel/wgkey";

/** Variables that stand for no flag. */
export const variables = {
  NODE_NAME: { about: "name of this host's node in Kubernetes" },
  POD_NAME: { about: "name of this pod, from which the node's is learnt if NODE_NAME is not set" },
  POD_NAMESPACE: { about: "namespace of this pod" },
  WIREGUARD_KEY_FILE: { about: `file of the private key of WireGuard; default ${WIREGUARD_KEY_FILE}` },
  EVENT_QUEUE_DEPTH: {
    about: "length of flanneld's queue of nodes",
    withoutEffect: "there is no queue that could be full: of each node the newest state counts",
  },
  CONT_WHEN_CACHE_NOT_READY: {
    about: "go on when not all nodes are known in time",
    withoutEffect: "the agent always goes on, and takes in nodes as they come",
  },
  ACCESS_KEY_ID: {
    about: "access to the cloud's API",
    withoutEffect: "for the backend tencent-vpc, which is refused",
  },
  ACCESS_KEY_SECRET: {
    about: "access to the cloud's API",
    withoutEffect: "for the backend tencent-vpc, which is refused",
  },
} as const satisfies Readonly<Record<string, { readonly about: string; readonly withoutEffect?: string }>>;

/** What `--help` prints. */
export function usage(program: string): string {
  const lines = flagNames.map((name) => {
    const flag: Flag = flags[name];
    const value = flag.kind === "switch" ? "" : flag.kind === "number" ? " NUMBER" : " VALUE";
    const more = [
      ...(flag.default === "" ? [] : [`default ${flag.default}`]),
      ...(flag.kind === "list" ? ["may be given several times"] : []),
      ...(flag.withoutEffect === undefined ? [] : [`without effect: ${flag.withoutEffect}`]),
    ];
    return `  --${name}${value}\n      ${flag.about}${more.length === 0 ? "" : ` (${more.join("; ")})`}`;
  });
  return [
    `Usage: ${program} [--FLAG=VALUE]…`,
    "",
    "Each flag is also read from FLANNELD_FLAG.",
    "",
    ...lines,
    "",
  ].join("\n");
}
