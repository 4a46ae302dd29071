/** Defects of the reference 1.9.1 that ours does not repeat, and the words of docs/differences.md that say so. */
export const defects: Readonly<Record<string, readonly string[]>> = {
  "no plugin has a GC": ["GC does nothing"],
  "STATUS is not told that addresses have run out, or that the daemon is not there": [
    "code 50 when a range set has no free address",
    "code 50 when the daemon does not answer",
  ],
  "DEL without a namespace or a link leaves rules": ["DEL without a namespace leaves rules of masquerading"],
  "a failed ADD leaves links, devices and reservations": [
    "a network without addresses fails in 0.1.0 and 0.2.0, and leaves the pair",
    "a failed ADD leaves the link, or the device in the container",
    "ADD that fails leaves link or reservation",
    "an IPAM failure leaves the link",
  ],
  "DEL needs what may be gone": [
    "DEL fails when the master is gone",
    "DEL fails without a default route or a previous result",
    "DEL fails when the link or its alias is missing",
    "DEL with an empty namespace leaves the address reserved",
  ],
  "bandwidth: names, a crash, links of one end, CHECK": [
    "two interfaces of one container in a network collide",
    "crashes without a previous result",
    "refuses macvlan, ipvlan, vlan and devices of the host",
    "CHECK compares the first qdisc if it is a token bucket",
  ],
  "tuning: backups, parameters, a crash, CHECK": [
    "old values in `dataDir`, in a folder of mode 0600",
    "parameters of the kernel keep their value after DEL",
    "crashes on `args.cni.sysctl` without `sysctl`",
    "CHECK fails for promiscuous mode that was not asked for here",
  ],
  "portmap: DEL, conditions, cost, UDP, bounds": [
    "by nftables it removes those of all networks and interfaces",
    "conditions in words of nft hold for the whole host",
    "a mapping is one element of a map",
    "DEL without mappings does nothing",
    "ends UDP flows of a port number on ADD, whoever they are for",
    "takes ports above 65535, and an unreadable `hostIP` as IPv6",
  ],
  "firewall: DEL, CHECK, families, ingress policies, nftables": [
    "DEL without a previous result leaves its rules",
    "CHECK makes chains",
    "iptables of both families is needed",
    "rules of `ingressPolicy` are never removed",
    "no nftables",
  ],
  "host-local: cost, crashes, gateways, DEL, addresses by name": [
    "looks at every reservation for each address",
    "an empty file, which a killed ADD leaves",
    "a gateway may be outside of its subnet",
    "DEL fails when the configuration has become invalid",
    "an attachment that has an address gets further ones if it asks for them by name",
  ],
  "static: CHECK": ["CHECK does not miss an address that the result lacks"],
  "dhcp: leases, CHECK, broadcast, IPv6, DNS": [
    "leases are in the daemon's memory",
    "CHECK renews, and waits for ever once the lease has ended",
    "the `-broadcast` option does nothing",
    "IPv4 only",
    "no DNS, no MTU",
  ],
  "sbr: locks and CHECK": [
    "locks the file of the namespace, and makes a file if there is none",
    "CHECK does nothing",
  ],
  "the runtime: rollback, cache, capabilities, busy files": [
    "a failed ADD leaves what the plugins before the failed one made",
    "writes its cache in place",
    "two attachments may share the name of a cache file",
    "passes `capabilities` on",
    "a plugin whose file stays busy counts as done",
  ],
  "every plugin: its own namespace, the version of errors, CNI_PATH": [
    "a call in the plugin's own namespace is refused when the plugin has done its work",
    "an error has no `cniVersion`",
    "every verb but VERSION fails without CNI_PATH",
  ],
  "bridge: CHECK": [
    "CHECK does not look at VLANs, hairpin mode, isolation, masquerade and MAC check",
    "CHECK without IPAM fails",
  ],
  "addresses are announced by ARP alone, or not at all": ["by ARP alone, also without an IPv4 address"],
  "STATUS without IPAM": [
    "`ipam` is required; STATUS without it fails",
    "STATUS without `ipam` is an error about a plugin without a name",
  ],
  "fields of results and routes are not filled": [
    "the MTU of every interface is in the result",
    "no `pciID` in the result",
    "`mtu` and `advmss` of routes are only passed on",
  ],
  "ipvlan: MTU": ["an MTU of more than the master's is taken"],
  "ADD waits for duplicate address detection, or the address cannot be used": [
    "ADD waits for duplicate address detection if there is an IPv6 gateway",
  ],
  "host-device: a PCI device without a driver": [
    "a PCI device without a driver is an error of the look for DPDK",
  ],
};
