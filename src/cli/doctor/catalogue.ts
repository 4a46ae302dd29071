/**
 * Every finding that the doctor knows, by its id: what is said when there is nothing to say, and why it matters. The
 * ids, and what they mean, are stable; docs/doctor.md has a section for each.
 */
interface Entry {
  /** In which part of the report it stands. */
  readonly group: string;
  /** Beside `ok`, and `note` for what could not be told. */
  readonly severities: readonly ("note" | "warning" | "problem")[];
  /** Said if there is nothing to report: what was looked at, and no more than that. */
  readonly fine: string;
  /** Why it matters; one sentence. */
  readonly why: string;
}

export const catalogue = {
  "kernel-feature": {
    group: "kernel",
    severities: ["problem"],
    fine: "the kernel has what the configured networks need, as far as it can be asked",
    why: "An ADD of these networks fails on this kernel, or their containers reach no other host.",
  },
  forwarding: {
    group: "forwarding",
    severities: ["warning", "problem"],
    fine: "packets of attached containers are forwarded",
    why: "The host passes no packet between its containers and other networks.",
  },
  "forwarding-file": {
    group: "forwarding",
    severities: ["note", "warning"],
    fine: "no sysctl file switches forwarding off",
    why: "The next `sysctl --system`, as many a package update runs it, cuts every container off.",
  },
  "router-advertisement": {
    group: "forwarding",
    severities: ["problem"],
    fine: "no default route depends on router advertisements that the host ignores",
    why: "A host that forwards IPv6 ignores router advertisements unless accept_ra is 2: the route expires.",
  },
  "forward-drop": {
    group: "firewall",
    severities: ["note", "warning"],
    fine: "no chain of others drops what it does not know on its way through the host",
    why: "A packet passes only if every chain lets it; what is not allowed in that chain is cut off.",
  },
  "bridge-netfilter": {
    group: "firewall",
    severities: ["warning"],
    fine: "no chain that drops sees frames between the ports of a bridge",
    why: "Containers on one bridge cannot reach one another unless that chain allows it.",
  },
  "iptables-mixed": {
    group: "firewall",
    severities: ["warning"],
    fine: "iptables keeps its rules in one place",
    why: "Rules of the older tables and of those over nftables are both in force, and each program shows only its own.",
  },
  "rules-lost": {
    group: "firewall",
    severities: ["problem"],
    fine: "the firewall rules of live attachments are in place",
    why: "Masquerading, port mappings or policies of running containers do not work.",
  },
  "loopback-exposed": {
    group: "firewall",
    severities: ["warning"],
    fine: "services on 127.0.0.1 cannot be reached from outside",
    why: "Neighbours on the link, and containers, can speak to services that listen on the host's loopback alone.",
  },
  "firewall-front-end": {
    group: "managers",
    severities: ["note"],
    fine: "no firewall front end was found",
    why: "It keeps the chains that decide over forwarded packets, and may reload them at any time.",
  },
  "flush-on-reload": {
    group: "managers",
    severities: ["note", "warning"],
    fine: "no service that is switched on flushes the whole rule set",
    why: "Each start or reload of that service takes away the rules of running containers.",
  },
  "link-managed": {
    group: "managers",
    severities: ["warning"],
    fine: "no network manager was seen to take care of links of containers",
    why: "A manager that takes a link for its own removes addresses and routes that it does not know.",
  },
  "network-system": {
    group: "managers",
    severities: ["note"],
    fine: "no other container network was found",
    why: "Two systems that share a host must not share subnets, names and marks.",
  },
  "mark-taken": {
    group: "collisions",
    severities: ["warning"],
    fine: "no routing rule and no iptables rule of others uses the packet mark of port mappings",
    why: "Packets would be masqueraded that are not meant, or take another route.",
  },
  "priority-taken": {
    group: "collisions",
    severities: ["warning"],
    fine: "no NAT chain of others has the priority of one of Heddle's",
    why: "Of two NAT chains of one priority, the order of their making decides who translates first.",
  },
  "protocol-taken": {
    group: "collisions",
    severities: ["warning"],
    fine: "the route protocol 72 is Heddle's alone",
    why: "Routes and rules with this number are taken for Heddle's when a record is lost.",
  },
  "table-foreign": {
    group: "collisions",
    severities: ["problem"],
    fine: "the nftables tables named heddle are of the layout that this version knows",
    why: "Rules cannot be entered into a table of another layout.",
  },
  "name-taken": {
    group: "collisions",
    severities: ["problem"],
    fine: "the bridges of the configuration are bridges, or not there yet",
    why: "An ADD finds a link of that name which is no bridge, and fails.",
  },
  "subnet-taken": {
    group: "collisions",
    severities: ["warning", "problem"],
    fine: "no subnet of a configured network is used elsewhere on this host",
    why: "Of two ways to one subnet only the more specific is taken; two pools of one subnet give an address twice.",
  },
  "config-none": {
    group: "configuration",
    severities: ["note"],
    fine: "there are network configurations",
    why: "A runtime finds no network to attach containers to.",
  },
  "config-invalid": {
    group: "configuration",
    severities: ["warning", "problem"],
    fine: "every configuration file is valid",
    why: "A runtime skips the file, or every ADD by it fails.",
  },
  "config-ignored": {
    group: "configuration",
    severities: ["note"],
    fine: "every file in the configuration directory is one that runtimes read",
    why: "Runtimes read .conflist, .conf and .json, and pass over every other name without a word.",
  },
  "config-elsewhere": {
    group: "configuration",
    severities: ["note"],
    fine: "no runtime is set to read configurations elsewhere",
    why: "What that runtime does with containers was not looked at.",
  },
  "network-twice": {
    group: "configuration",
    severities: ["warning"],
    fine: "every network is configured in one file",
    why: "One of the files has no effect, and containers attached by the one may be detached by the other.",
  },
  "network-first": {
    group: "configuration",
    severities: ["note", "warning"],
    fine: "there is not more than one file to choose from",
    why: "containerd and CRI-O use one network: that of the file whose name comes first.",
  },
  "plugin-missing": {
    group: "configuration",
    severities: ["problem"],
    fine: "every plugin that a configuration names is in the plugin directories",
    why: "An ADD of that network fails.",
  },
  "plugin-not-executable": {
    group: "configuration",
    severities: ["problem"],
    fine: "every plugin that a configuration names can be executed",
    why: "An ADD of that network fails.",
  },
  "plugin-link": {
    group: "configuration",
    severities: ["warning"],
    fine: "no plugin that others copy to its name is a link there",
    why: "flanneld's DaemonSet copies its plugin to this name, and with a link there it writes over the file that the link leads to.",
  },
  "dhcp-daemon": {
    group: "configuration",
    severities: ["problem"],
    fine: "the DHCP daemon answers, or no network needs it",
    why: "Networks with DHCP get no lease, and those that are attached lose theirs.",
  },
  "attachment-dead": {
    group: "leftovers",
    severities: ["warning"],
    fine: "every recorded attachment is alive",
    why: "Addresses, host ports and rules stay taken for containers that are gone.",
  },
  "record-unreadable": {
    group: "leftovers",
    severities: ["warning"],
    fine: "every record can be read",
    why: "An ADD was ended before it had done anything, or the file was damaged: it says nothing of what to remove.",
  },
  "reservation-orphan": {
    group: "leftovers",
    severities: ["warning"],
    fine: "every reserved address belongs to an attachment that is known",
    why: "The range runs out by addresses that nobody has.",
  },
  "link-orphan": {
    group: "leftovers",
    severities: ["warning"],
    fine: "every link with Heddle's mark has a record",
    why: "Nothing removes the link but DEL or GC of its network.",
  },
  "rule-orphan": {
    group: "leftovers",
    severities: ["warning"],
    fine: "every firewall rule with Heddle's mark has a record",
    why: "Host ports stay taken and addresses masqueraded until GC of the network.",
  },
  "cache-dead": {
    group: "leftovers",
    severities: ["warning"],
    fine: "every cached attachment has its namespace",
    why: "The runtime still counts the container as attached; after a restart of the host nobody may detach it.",
  },
  "mtu-uplink": {
    group: "mtu",
    severities: ["warning"],
    fine: "no bridge of containers has a larger MTU than the uplink",
    why: "Large packets are cut or dropped on the way out: small requests work, large answers hang.",
  },
  "mtu-ports": {
    group: "mtu",
    severities: ["warning"],
    fine: "the ports of each bridge have its MTU",
    why: "A bridge cannot tell a sender that a frame is too large for a port: it drops it.",
  },
  "conntrack-full": {
    group: "limits",
    severities: ["warning", "problem"],
    fine: "connection tracking has room",
    why: "When the table is full, new connections through the host are dropped.",
  },
  "conntrack-buckets": {
    group: "limits",
    severities: ["warning"],
    fine: "the table of tracked connections is wide enough for their number",
    why: "With long chains in the hash table every packet is slower.",
  },
  "addresses-free": {
    group: "limits",
    severities: ["warning", "problem"],
    fine: "every range of host-local has free addresses",
    why: "When the range is used up, no further container can be attached.",
  },
  "state-permissions": {
    group: "files",
    severities: ["problem"],
    fine: "only root can write what Heddle remembers",
    why: "DEL acts as root on what these files say.",
  },
  "config-permissions": {
    group: "files",
    severities: ["problem"],
    fine: "only root can write the network configurations",
    why: "Who writes a configuration decides what runs as root with every container.",
  },
  "plugin-permissions": {
    group: "files",
    severities: ["problem"],
    fine: "only root can write the plugins",
    why: "Plugins run as root with every container.",
  },
  "clock-behind": {
    group: "time",
    severities: ["problem"],
    fine: "the clock is not behind the files that Heddle wrote",
    why: "Leases of DHCP are renewed too late, and ages are wrong.",
  },
} as const satisfies Readonly<Record<string, Entry>>;

export type FindingId = keyof typeof catalogue;
