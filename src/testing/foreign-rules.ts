/**
 * Rule sets in the shape in which well-known programs load them, for tests of coexistence on the network of
 * `small-net.ts`. Written for these tests after what the programs' documents and listings show: the same tables, hooks,
 * priorities and policies, and a few rules in each place.
 */
export interface ForeignRules {
  readonly program: "iptables-nft-restore" | "nft";
  readonly text: string;
  /** The tables that it makes, as words of `nft list table`. */
  readonly tables: readonly (readonly string[])[];
  /** Port 9090 of the host leads to container two, port 81, by these rules. */
  readonly takes9090: "before us" | "after us";
  /** How `findForwardDrops` names its chain. */
  readonly forwardDrop?: string;
  /** A command that lets forwarded packets pass, in the place that the program keeps for that. */
  readonly allow: readonly string[];
}

const docker: ForeignRules = {
  program: "iptables-nft-restore",
  text: `*nat
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 9090 -j DNAT --to-destination 10.99.0.3:81
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
`,
  tables: [
    ["ip", "nat"],
    ["ip", "filter"],
  ],
  takes9090: "before us",
  forwardDrop: "ip filter FORWARD by policy",
  allow: ["iptables-nft", "-I", "DOCKER-USER", "-j", "ACCEPT"],
};

const firewalld: ForeignRules = {
  program: "nft",
  text: `table inet firewalld {
  chain nat_PREROUTING { type nat hook prerouting priority dstnat + 10; policy accept; jump nat_PRE_public; }
  chain nat_PRE_public { meta nfproto ipv4 tcp dport 9090 dnat ip to 10.99.0.3:81; }
  chain nat_OUTPUT { type nat hook output priority -90; policy accept; }
  chain nat_POSTROUTING { type nat hook postrouting priority srcnat + 10; policy accept; jump nat_POST_public; }
  chain nat_POST_public { meta nfproto ipv4 oifname "nowhere" masquerade; }
  chain filter_PREROUTING {
    type filter hook prerouting priority filter + 10; policy accept;
    icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
    meta nfproto ipv6 fib saddr . mark . iif oif missing drop
  }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state { invalid } drop
    jump filter_FWD_zones
    reject with icmpx admin-prohibited
  }
  chain filter_FWD_zones { }
}
`,
  tables: [["inet", "firewalld"]],
  takes9090: "after us",
  forwardDrop: "inet firewalld filter_FORWARD by last rule",
  allow: ["nft", "add", "rule", "inet", "firewalld", "filter_FWD_zones", "accept"],
};

const kubeProxy: ForeignRules = {
  program: "nft",
  text: `table ip kube-proxy {
  comment "rules for kube-proxy";
  map service-ips {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = { 192.0.2.1 . tcp . 9090 : goto service-two }
  }
  map service-nodeports {
    type inet_proto . inet_service : verdict
    elements = { tcp . 9090 : goto service-two }
  }
  set nodeport-ips { type ipv4_addr; elements = { 192.0.2.1 } }
  chain filter-forward { type filter hook forward priority -110; policy accept; ct state new jump cluster-ips-check; }
  chain cluster-ips-check { ip daddr 172.30.0.0/16 reject; }
  chain nat-prerouting { type nat hook prerouting priority dstnat; policy accept; jump services; }
  chain nat-output { type nat hook output priority -100; policy accept; jump services; }
  chain nat-postrouting { type nat hook postrouting priority srcnat; policy accept; jump masquerading; }
  chain masquerading { meta mark & 0x00004000 != 0x00004000 return; meta mark set meta mark ^ 0x00004000; masquerade fully-random; }
  chain services {
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }
  chain service-two { meta mark set meta mark | 0x00004000; meta l4proto tcp dnat to 10.99.0.3:81; }
}
`,
  tables: [["ip", "kube-proxy"]],
  takes9090: "before us",
  allow: ["true"],
};

export const foreignRules = { docker, firewalld, kubeProxy } as const;
