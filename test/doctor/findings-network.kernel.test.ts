/** Findings about the kernel, the firewall, managers, and numbers that meet: each on a host that has it and had it not. */
import { describe, expect } from "bun:test";
import { readFileSync } from "node:fs";
import { catalogue, type FindingId } from "../../src/cli/doctor/catalogue.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelHas } from "../../src/testing/features.ts";
import { foreignRules } from "../../src/testing/foreign-rules.ts";
import { kernelTestWith, testWith } from "../../src/testing/needs.ts";
import { type DoctorHost, doctorHost, MY_BRIDGE, myList, NETWORK, said } from "./host.ts";

const PROGRAMS = ["ip", "nft", "nsenter", "unshare", "sysctl", "iptables-nft", "iptables-legacy"];
const heddle = heddleOfFile();
const hostTest = testWith({ root: true, programs: PROGRAMS });

interface Case {
  readonly id: FindingId;
  /** What brings it about, as the end of a sentence. */
  readonly when: string;
  readonly make: (on: DoctorHost) => void | Promise<unknown>;
  /** How it is reported: `severity subject: seen`. */
  readonly says: RegExp;
}

const cases: readonly Case[] = [
  {
    id: "forwarding",
    when: "ip_forward was switched off under a live container",
    make: (on) => on.exec("sysctl", "-qw", "net.ipv4.ip_forward=0"),
    says: /^problem net\/ipv4\/ip_forward: net\.ipv4\.ip_forward is 0, and container cnitool-\w+ \(network mynet\) needs it/,
  },
  {
    id: "forwarding",
    when: "the bridge alone does not forward",
    make: (on) => on.exec("sysctl", "-qw", `net.ipv4.conf.${MY_BRIDGE}.forwarding=0`),
    says: /^warning mynet0: net\.ipv4\.conf\.mynet0\.forwarding is 0/,
  },
  {
    id: "forwarding-file",
    when: "the last file that names the parameter switches forwarding off",
    make: (on) => {
      on.put("/etc/sysctl.d/10-first.conf", "net.ipv4.ip_forward = 1\n");
      on.put("/etc/sysctl.d/90-hardening.conf", "# strict\n-net/ipv4/ip_forward=0\n");
    },
    says: /^warning \/etc\/sysctl\.d\/90-hardening\.conf: .* sets net\.ipv4\.ip_forward to 0/,
  },
  {
    id: "router-advertisement",
    when: "the default route came from a router that the host no longer listens to",
    make: async (on) => {
      await on.exec("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.up0.accept_ra=1");
      await on.exec("ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "up0", "proto", "ra");
    },
    says: /^problem up0: the default route over up0 came from a router's advertisement/,
  },
  {
    id: "forward-drop",
    when: "Docker's rules are loaded",
    make: (on) => on.feed(foreignRules.docker.text, foreignRules.docker.program),
    says: /^warning ip filter FORWARD: chain ip filter FORWARD drops by its policy .* containers of mynet/,
  },
  {
    id: "forward-drop",
    when: "the older tables of iptables drop",
    make: (on) => on.exec("iptables-legacy", "-P", "FORWARD", "DROP"),
    says: /^warning iptables-legacy IPv4 filter FORWARD: .* by its policy/,
  },
  {
    id: "iptables-mixed",
    when: "rules stand in both kinds of iptables",
    make: async (on) => {
      for (const kind of ["legacy", "nft"]) await on.exec(`iptables-${kind}`, "-A", "INPUT", "-j", "ACCEPT");
    },
    says: /^warning IPv4: there are rules in iptables-legacy and in iptables-nft for IPv4/,
  },
  {
    id: "rules-lost",
    when: "somebody flushed the rule set",
    make: (on) => on.exec("nft", "flush", "ruleset"),
    says: /^problem mynet: network mynet has lost rules of 1 container: bridge of cnitool-\w+ \(eth0\): nftables chain inet heddle postrouting: want 4 rules, found nothing, portmap of /,
  },
  {
    id: "loopback-exposed",
    when: "a link routes 127.0.0.0/8 and the guard is gone",
    make: async (on) => {
      await on.exec("nft", "delete", "table", "inet", "heddle");
      await on.exec("sysctl", "-qw", `net.ipv4.conf.${MY_BRIDGE}.route_localnet=1`);
    },
    says: /^warning .*mynet0.*: route_localnet is 1 on .*mynet0/,
  },
  {
    id: "firewall-front-end",
    when: "ufw is switched on",
    make: (on) => {
      on.put("/etc/ufw/ufw.conf", "ENABLED=yes\n");
      on.put("/etc/default/ufw", 'DEFAULT_FORWARD_POLICY="REJECT"\n');
    },
    says: /^note ufw: ufw is switched on; what is forwarded and not allowed: REJECT/,
  },
  {
    id: "firewall-front-end",
    when: "firewalld has its table",
    make: (on) => on.feed(foreignRules.firewalld.text, "nft", "-f", "-"),
    says: /^note firewalld: firewalld runs/,
  },
  {
    id: "firewall-front-end",
    when: "Docker has its socket",
    make: (on) => on.put("/run/docker.sock", ""),
    says: /^note docker: Docker is here/,
  },
  {
    id: "flush-on-reload",
    when: "nftables.service is switched on with a file that flushes everything",
    make: (on) => {
      on.put("/etc/nftables.conf", "#!/usr/sbin/nft -f\n\nflush ruleset\n");
      on.put("/etc/systemd/system/sysinit.target.wants/nftables.service", "");
    },
    says: /^warning \/etc\/nftables\.conf: nftables\.service is switched on/,
  },
  {
    id: "link-managed",
    when: "systemd-networkd has taken the bridge",
    make: async (on) => {
      const file = `/run/systemd/netif/links/${await on.indexOf(MY_BRIDGE)}`;
      on.put(file, "ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/all.network\n");
      on.put(`/run/systemd/netif/links/${await on.indexOf("up0")}`, "ADMIN_STATE=configured\n");
    },
    says: /^warning systemd-networkd: systemd-networkd manages mynet0 \(configured by \/etc\/systemd\/network\/all\.network\)$/,
  },
  {
    id: "link-managed",
    when: "NetworkManager has taken the bridge",
    make: async (on) =>
      on.put(`/run/NetworkManager/devices/${await on.indexOf(MY_BRIDGE)}`, "[device]\nmanaged=true\n"),
    says: /^warning NetworkManager: NetworkManager manages mynet0 \(managed=true\)/,
  },
  {
    id: "link-managed",
    when: "dhcpcd runs and leaves no link out",
    make: (on) => {
      on.put("/run/dhcpcd/pid", "1\n");
      on.put("/etc/dhcpcd.conf", "hostname\n#denyinterfaces veth*\n");
    },
    says: /^warning dhcpcd: /,
  },
  {
    id: "network-system",
    when: "kube-proxy's table is there",
    make: (on) => on.feed(foreignRules.kubeProxy.text, "nft", "-f", "-"),
    says: /^note kube-proxy: kube-proxy is here: kube-proxy/,
  },
  {
    id: "mark-taken",
    when: "a routing rule goes by the bit of port mappings by iptables",
    make: async (on) => {
      const plugins = [
        { type: "ptp", ipam: { type: "dhcp" } },
        { type: "portmap", backend: "iptables" },
      ];
      on.network("50-marks.conflist", { cniVersion: "1.1.0", name: "marks", plugins });
      await on.exec("ip", "rule", "add", "fwmark", "0x2000/0x2000", "lookup", "100", "priority", "90");
    },
    says: /^warning marks: network marks marks packets with 0x2000, .*the routing rule 90 \(fwmark 0x2000\/0x2000\)/,
  },
  {
    id: "mark-taken",
    when: "an iptables rule sets that bit",
    make: async (on) => {
      const plugins = [
        { type: "ptp", ipam: { type: "dhcp" } },
        { type: "portmap", backend: "iptables" },
      ];
      on.network("50-marks.conflist", { cniVersion: "1.1.0", name: "marks", plugins });
      await on.exec("iptables-nft", "-t", "mangle", "-N", "VPN");
      await on.exec(
        "iptables-nft",
        "-t",
        "mangle",
        "-A",
        "VPN",
        "-j",
        "MARK",
        "--set-xmark",
        "0x3000/0x3000",
      );
    },
    says: /^warning marks: .*the iptables chain VPN/,
  },
  {
    id: "priority-taken",
    when: "a NAT chain of somebody else has the priority of ours",
    make: (on) =>
      on.feed("table ip mine { chain in { type nat hook prerouting priority -95; }; }", "nft", "-f", "-"),
    says: /^warning ip mine in: NAT chain ip mine in has the priority -95 at prerouting/,
  },
  {
    id: "protocol-taken",
    when: "somebody else's route has our protocol number",
    make: (on) => on.exec("ip", "route", "add", "198.51.100.0/24", "dev", "up0", "proto", "72"),
    says: /^warning 72: of protocol 72, and of no recorded attachment: route 198\.51\.100\.0\/24/,
  },
  {
    id: "protocol-taken",
    when: "the number has another name",
    make: (on) => on.put("/etc/iproute2/rt_protos.d/mine.conf", "72 mine\n"),
    says: /^warning mine: route protocol 72 is called mine/,
  },
  {
    id: "table-foreign",
    when: "a table of our name says that it is of another layout",
    make: async (on) => {
      await on.exec("nft", "delete", "table", "inet", "heddle");
      await on.feed('table inet heddle { comment "heddle layout 7"; }', "nft", "-f", "-");
    },
    says: /^problem inet heddle: table inet heddle has the comment "heddle layout 7"/,
  },
  {
    id: "name-taken",
    when: "the bridge's name is that of another link",
    make: async (on) => {
      on.network("50-late.conflist", {
        cniVersion: "1.1.0",
        name: "late",
        plugins: [{ type: "bridge", bridge: "wire0" }],
      });
    },
    says: /^problem wire0: network late wants the bridge wire0, .* of kind veth/,
  },
  {
    id: "subnet-taken",
    when: "the host reaches a part of the subnet by another link",
    make: (on) => on.exec("ip", "address", "add", "10.88.0.129/25", "dev", "up0"),
    says: /^warning 10\.88\.0\.0\/24: network mynet gives addresses of 10\.88\.0\.0\/24, and this host reaches 10\.88\.0\.128\/25 by up0/,
  },
  {
    id: "subnet-taken",
    when: "two networks give one subnet's addresses on one bridge",
    make: (on) => on.network("50-second.conflist", { ...myList(), name: "second" }),
    says: /^problem 10\.88\.0\.0\/24: network mynet .* and network second .* on one bridge mynet0/,
  },
  {
    id: "mtu-uplink",
    when: "the uplink has a smaller MTU than the bridge",
    make: (on) => on.exec("ip", "link", "set", "up0", "mtu", "1400"),
    says: /^warning mynet0: bridge mynet0 has an MTU of 1500, and the uplink up0 one of 1400/,
  },
  {
    id: "mtu-ports",
    when: "a port of the bridge has a smaller MTU than the others",
    make: async (on) => {
      await on.exec("ip", "link", "add", "small0", "mtu", "1300", "type", "veth", "peer", "name", "small1");
      await on.exec("ip", "link", "set", "small0", "master", MY_BRIDGE);
    },
    says: /^warning mynet0: ports of mynet0 have an MTU of 1500, and small0 1300/,
  },
];

describe("the doctor reports", () => {
  for (const { id, when, make, says } of cases)
    hostTest(`${id} when ${when}, and not before`, async () => {
      await using on = await doctorHost(heddle);
      expect(said(await on.doctor(), id)).toEqual([]);
      await make(on);
      const report = await on.doctor();
      expect(said(report, id)).toEqual(expect.arrayContaining([expect.stringMatching(says)]));
      const found = report.findings.find((f) => f.id === id);
      expect(catalogue[id].severities as readonly string[]).toContain(found?.severity ?? "none");
      const hasProblem = report.findings.some((f) => f.severity === "problem");
      expect(report.code).toBe(hasProblem ? 1 : 0);
    });

  kernelTestWith("tun")(
    "kernel-feature when a network has taps and there is no /dev/net/tun, and not before",
    async () => {
      await using on = await doctorHost(heddle);
      on.network("50-taps.conflist", { cniVersion: "1.1.0", name: "taps", plugins: [{ type: "tap" }] });
      expect(said(await on.doctor(), "kernel-feature")).toEqual([]);
      await on.exec("mount", "-t", "tmpfs", "tmpfs", "/dev/net");
      const report = await on.doctor();
      expect(said(report, "kernel-feature")).toEqual(["problem taps: the kernel has no /dev/net/tun"]);
      expect(report.code).toBe(1);
    },
  );

  hostTest("kernel-feature for the kinds of links that this kernel lacks, and for no other", async () => {
    await using on = await doctorHost(heddle);
    const kinds = ["dummy", "ipvlan", "macvlan", "macvtap", "vlan", "vrf"] as const;
    const plugins = kinds.map((type) => ({ type }));
    on.network("50-kinds.conflist", { cniVersion: "1.1.0", name: "kinds", plugins });
    const lacking = kinds.filter((kind) => !kernelHas(kind));
    expect(said(await on.doctor(), "kernel-feature")).toEqual(
      lacking.map((kind) => `problem kinds: the kernel has no links of kind ${kind}`),
    );
  });

  hostTest("kernel-feature where a host has a key for WireGuard and a kernel without it", async () => {
    await using on = await doctorHost(heddle);
    on.network("50-pods.conflist", { cniVersion: "1.1.0", name: "pods", plugins: [{ type: "flannel" }] });
    expect(said(await on.doctor(), "kernel-feature")).toEqual([]);
    on.put("/run/flannel/wgkey", "", { mode: 0o400 });
    expect(said(await on.doctor(), "kernel-feature")).toEqual(
      kernelHas("wireguard") ? [] : ["problem pods: the kernel has no links of kind wireguard"],
    );
  });

  kernelTestWith("br_netfilter")(
    "bridge-netfilter when frames of a bridge meet a chain that drops, and not before",
    async () => {
      await using on = await doctorHost(heddle);
      await on.exec("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1");
      expect(said(await on.doctor(), "bridge-netfilter")).toEqual([]);
      await on.feed(foreignRules.docker.text, foreignRules.docker.program);
      expect(said(await on.doctor(), "bridge-netfilter")).toEqual([
        expect.stringMatching(
          /^warning net\.bridge\.bridge-nf-call-iptables: .*ip filter FORWARD also sees IPv4/,
        ),
      ]);
      await on.exec("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0");
      expect(said(await on.doctor(), "bridge-netfilter")).toEqual([]);
    },
  );

  hostTest(
    "a chain that drops as a note, once the plugin firewall has entered every container there",
    async () => {
      await using on = await doctorHost(heddle, myList({}, [{ type: "firewall" }]));
      await on.feed(foreignRules.docker.text, foreignRules.docker.program);
      expect(said(await on.doctor(), "forward-drop")).toEqual([
        expect.stringMatching(
          /^warning ip filter FORWARD: .*, and 1 container came before it did, .*: mynet\/cnitool-\w+\/eth0$/,
        ),
      ]);
      for (const verb of ["del", "add"]) await on.heddle("cni", verb, NETWORK, on.container.path);
      expect(said(await on.doctor(), "forward-drop")).toEqual([
        expect.stringMatching(/^note ip filter FORWARD: .* the plugin firewall allows/),
      ]);
      // Programs of the one kind enter nothing into the chains of the other.
      const { stdout } = await on.host.exec(["iptables", "--version"]);
      const other = stdout.includes("nf_tables") ? "legacy" : "nft";
      await on.exec(`iptables-${other}`, "-P", "FORWARD", "DROP");
      expect(said(await on.doctor(), "forward-drop")).toContainEqual(
        expect.stringMatching(/^warning .*FORWARD: .* containers of mynet cannot be told/),
      );
    },
  );

  hostTest(
    "a chain by hand that drops as a warning, though the network has the plugin firewall",
    async () => {
      await using on = await doctorHost(heddle, myList({}, [{ type: "firewall" }]));
      const table =
        "table inet mine { chain f { type filter hook forward priority 0; policy drop; ct state established accept; }; }";
      await on.feed(table, "nft", "-f", "-");
      expect(said(await on.doctor(), "forward-drop")).toEqual([
        expect.stringMatching(/^warning inet mine f: .* containers of mynet/),
      ]);
    },
  );

  hostTest("a flush as a note, if a unit of Heddle's that puts the rules back is switched on", async () => {
    await using on = await doctorHost(heddle);
    on.put("/etc/nftables.conf", "flush ruleset\n");
    expect(said(await on.doctor(), "flush-on-reload")).toEqual([]);
    const units = "/etc/systemd/system";
    on.put(`${units}/sysinit.target.wants/nftables.service`, "");
    on.put(
      `${units}/heddle-reload.service`,
      readFileSync(`${import.meta.dir}/../../packaging/systemd/heddle-reload.service`, "utf8"),
    );
    const report = await on.doctor();
    expect(said(report, "flush-on-reload")).toEqual([
      expect.stringMatching(/^warning \/etc\/nftables\.conf/),
    ]);
    expect(report.findings.find((f) => f.id === "flush-on-reload")?.cure).toContain(
      "systemctl enable --now heddle-reload.service",
    );
    on.put(`${units}/multi-user.target.wants/heddle-reload.service`, "");
    expect(said(await on.doctor(), "flush-on-reload")).toEqual([
      "note /etc/nftables.conf: /etc/nftables.conf flushes the whole rule set, and heddle-reload.service puts it back",
    ]);
  });

  hostTest("links that a manager leaves alone as nothing", async () => {
    await using on = await doctorHost(heddle);
    const index = await on.indexOf(MY_BRIDGE);
    on.put(`/run/systemd/netif/links/${index}`, "ADMIN_STATE=unmanaged\n");
    on.put(`/run/NetworkManager/devices/${index}`, "[device]\nmanaged=false\n");
    on.put("/run/dhcpcd/pid", "1\n");
    on.put("/etc/dhcpcd.conf", "denyinterfaces veth* mynet0\n");
    expect(said(await on.doctor(), "link-managed")).toEqual([]);
  });

  hostTest(`the route that systemd-networkd keeps in the kernel's place as nothing`, async () => {
    await using on = await doctorHost(heddle);
    await on.exec("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1", "net.ipv6.conf.up0.accept_ra=0");
    await on.exec("ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", "up0", "proto", "ra");
    expect(said(await on.doctor(), "router-advertisement")).toEqual([]);
  });

  hostTest(`a file that switches off what nobody needs as a note: ${NETWORK} has no IPv6`, async () => {
    await using on = await doctorHost(heddle);
    on.put("/etc/sysctl.conf", "net.ipv6.conf.all.forwarding=0\n");
    expect(said(await on.doctor(), "forwarding-file")).toEqual([
      expect.stringMatching(/^note \/etc\/sysctl\.conf/),
    ]);
  });
});
