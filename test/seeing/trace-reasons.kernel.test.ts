/** `heddle trace` beside reality: what decides beside the rules of IP, and what the command says to people. */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { type Flow, told, traceSite } from "./trace-site.ts";

const heddle = heddleOfFile();
const hostTest = testWith({ root: true, programs: ["ip", "nft", "iptables", "tc", "nsenter", "unshare"] });

const LISTENING = 80;

describe("heddle trace", () => {
  hostTest("a container reaches itself", async () => {
    await using site = await traceSite(heddle);
    const a = await site.attach("one");
    await site.serve(a.netns.path, LISTENING);
    for (const to of [a.address, "127.0.0.1", "::1", String(a.address6)])
      expect((await told(site, { from: a, to, port: LISTENING })).outcome).toBe("passes");
    await site.nft(
      "table inet t { chain c { type filter hook output priority 0; oifname lo drop; }\n }",
      a.netns,
    );
    expect((await told(site, { from: a, to: "127.0.0.1", port: LISTENING })).by).toBe(
      'inet t c: oifname "lo" drop',
    );
  });

  hostTest("chains of bridges, of links and of ARP are asked", async () => {
    await using site = await traceSite(heddle);
    const [a, b] = [await site.attach("one"), await site.attach("one")];
    await site.serve(b.netns.path, LISTENING);
    const flow = { from: a, to: b.address, port: LISTENING };
    const forget = async (): Promise<void> => {
      for (const at of [a, b]) await at.netns.exec(["ip", "neigh", "flush", "all"]);
    };
    const drops = async (
      rules: string,
      by: string,
      where?: typeof a.netns,
      of: Flow = flow,
    ): Promise<void> => {
      await forget();
      await site.nft(rules, where);
      const { outcome, by: found } = await told(site, of);
      expect([outcome, found]).toEqual(["dropped", expect.stringContaining(by) as never]);
      const [, family = "", table = ""] = /^table (\S+) (\S+)/.exec(rules) ?? [];
      await site.nft(`delete table ${family} ${table}`, where);
      // Who was asked for in vain is asked for again only after a second.
      await forget();
      expect((await told(site, of)).outcome).toBe("passes");
    };
    await drops(
      "table bridge t { chain c { type filter hook forward priority 0; ip daddr 10.60.0.3 tcp dport 80 drop; }\n }",
      "bridge t c: ",
    );
    await drops(
      "table bridge t { chain c { type filter hook forward priority 0; ether type arp drop; }\n }",
      "asking for the hardware address",
    );
    await drops(
      "table arp t { chain c { type filter hook input priority 0; policy drop; }\n }",
      "the policy of arp t c",
      b.netns,
    );
    await drops(
      "table netdev t { chain c { type filter hook ingress device eth0 priority 0; tcp dport 80 drop; }\n }",
      "netdev t c: ",
      b.netns,
    );
    const six = { ...flow, to: String(b.address6) };
    await drops(
      "table ip6 t { chain c { type filter hook input priority 0; policy drop; tcp dport 80 accept; }\n }",
      "the policy of ip6 t c",
      b.netns,
      six,
    );
  });

  hostTest("hardware addresses are what the kernel believes", async () => {
    await using site = await traceSite(heddle);
    const [a, b] = [await site.attach("one"), await site.attach("one")];
    await site.serve(b.netns.path, LISTENING);
    const flow = { from: a, to: b.address, port: LISTENING };
    await a.netns.exec([
      "ip",
      "neigh",
      "replace",
      b.address,
      "lladdr",
      "02:00:00:00:00:01",
      "dev",
      "eth0",
      "nud",
      "permanent",
    ]);
    expect((await told(site, flow)).by).toBe("nobody behind eth0 has that hardware address");
    await a.netns.exec(["ip", "neigh", "del", b.address, "dev", "eth0"]);
    expect((await told(site, flow)).outcome).toBe("passes");
    const { stdout } = await a.netns.exec(["cat", "/sys/class/net/eth0/address"]);
    await b.netns.exec(["ip", "link", "set", "eth0", "address", stdout.trim()]);
    await a.netns.exec(["ip", "neigh", "flush", "all"]);
    const twins = await site.trace(flow);
    expect([twins.outcome, twins.by]).toEqual([
      "cannot tell",
      expect.stringContaining("the same hardware address") as never,
    ]);
  });

  hostTest("the host answers for others where it is told to", async () => {
    await using site = await traceSite(heddle);
    const [a, b] = [await site.attach("one"), await site.attach("two")];
    await site.serve(b.netns.path, LISTENING);
    const flow = { from: a, to: b.address, port: LISTENING };
    await a.netns.exec(["ip", "route", "add", "10.61.0.0/24", "dev", "eth0"]);
    const alone = await told(site, flow);
    expect([alone.outcome, alone.by]).toEqual(["dropped", `nobody behind eth0 has the address ${b.address}`]);
    await site.host.exec([
      "sysctl",
      "-qw",
      "net.ipv4.neigh.one0.proxy_delay=0",
      "net.ipv4.conf.one0.proxy_arp=1",
    ]);
    await a.netns.exec(["ip", "neigh", "flush", "all"]);
    expect((await told(site, flow)).outcome).toBe("passes");
    await a.netns.exec(["ip", "rule", "add", "uidrange", "4000-5000", "prohibit"]);
    const whose = await site.trace(flow);
    expect([whose.outcome, whose.by]).toEqual([
      "cannot tell",
      "a routing rule that asks for the sender's user or port",
    ]);
  });

  hostTest("marks choose routes, and several next hops choose by what nobody knows", async () => {
    await using site = await traceSite(heddle);
    const [a, b] = [await site.attach("one"), await site.attach("two")];
    await site.serve(b.netns.path, LISTENING);
    const flow = { from: a, to: b.address, port: LISTENING };
    await site.host.exec(["ip", "rule", "add", "fwmark", "7", "table", "77"]);
    await site.host.exec(["ip", "route", "add", "blackhole", "default", "table", "77"]);
    expect((await told(site, flow)).outcome).toBe("passes");
    await site.nft(
      'table inet t { chain c { type filter hook prerouting priority 0; iifname "one0" meta mark set 7; }\n }',
    );
    expect((await told(site, flow)).by).toBe(`a blackhole route to ${b.address}`);
    await site.nft("delete table inet t");
    await site.nft(
      "table inet t { chain c { type filter hook prerouting priority 0; limit rate 1/minute meta mark set 7; }\n }",
    );
    const blurred = await site.trace(flow);
    expect([blurred.outcome, blurred.by]).toEqual([
      "cannot tell",
      expect.stringContaining("mark is not known") as never,
    ]);
    await site.nft("delete table inet t");
    await site.host.exec([
      "ip",
      "route",
      "replace",
      "198.51.100.0/24",
      "nexthop",
      "via",
      "10.95.0.2",
      "nexthop",
      "via",
      b.address,
    ]);
    const many = await site.trace({ ...flow, to: "198.51.100.1" });
    expect([many.outcome, many.by]).toEqual(["cannot tell", "a route to 198.51.100.1 with 2 next hops"]);
    const policy = "xfrm policy add src 203.0.113.0/24 dst 203.0.113.0/24 dir fwd action block";
    const ipsec = await site.host.exec(["ip", ...policy.split(" ")], { mustSucceed: false });
    // Not every kernel has IPsec.
    const taken = await site.trace(flow);
    expect([taken.outcome, taken.by === "policies of IPsec"]).toEqual(
      ipsec.code === 0 ? ["cannot tell", true] : ["passes", false],
    );
  });

  hostTest(
    "of chains with one priority, the order is not known, and matters where one changes the packet",
    async () => {
      await using site = await traceSite(heddle);
      const [a, b] = [await site.attach("one"), await site.attach("two")];
      await site.serve(b.netns.path, LISTENING);
      const flow = { from: a, to: b.address, port: LISTENING };
      const table = (name: string, type: string, priority: number, rule: string): Promise<void> =>
        site.nft(
          `table inet ${name} { chain c { type ${type} hook prerouting priority ${priority}; ${rule}; }\n }`,
        );
      const none = "which of them comes first is not known";
      await table("t1", "filter", 0, "tcp dport 1 drop");
      await table("t2", "filter", 0, "tcp dport 2 drop");
      expect((await told(site, flow)).outcome).toBe("passes");
      await table("t3", "filter", 0, "meta mark set 7");
      const marked = await site.trace(flow);
      expect([marked.outcome, marked.by]).toEqual(["cannot tell", expect.stringContaining(none) as never]);
      for (const name of ["t1", "t2", "t3"]) await site.nft(`delete table inet ${name}`);
      await table("t1", "nat", -90, `tcp dport ${LISTENING} dnat ip to ${b.address}`);
      expect((await told(site, flow)).outcome).toBe("passes");
      await table("t2", "nat", -90, "tcp dport 81 dnat ip to 10.61.0.77");
      expect((await told(site, flow)).outcome).toBe("passes");
      await table("t3", "nat", -90, `tcp dport ${LISTENING} dnat ip to 10.61.0.77`);
      const translated = await site.trace({ ...flow, from: await site.attach("one") });
      expect([translated.outcome, translated.by]).toEqual([
        "cannot tell",
        `inet t1 c and inet t3 c have the same priority: ${none}`,
      ]);
    },
  );

  hostTest("links that are down are named, on either side", async () => {
    await using site = await traceSite(heddle);
    const [a, b] = [await site.attach("one"), await site.attach("one")];
    await site.serve(b.netns.path, LISTENING);
    const flow = { from: a, to: b.address, port: LISTENING };
    expect((await told(site, flow)).outcome).toBe("passes");
    const ports = JSON.parse(
      (await site.host.exec(["ip", "-json", "link", "show", "master", "one0"])).stdout,
    ) as readonly { readonly ifname: string }[];
    const last = String(ports.at(-1)?.ifname);
    await site.host.exec(["ip", "link", "set", last, "down"]);
    await a.netns.exec(["ip", "neigh", "flush", "all"]);
    const down = await told(site, flow);
    expect([down.outcome, down.where]).toEqual(["dropped", "host"]);
    expect(down.by).toContain(last);
    await site.host.exec(["ip", "link", "set", last, "up"]);
    await site.host.exec(["ip", "link", "set", "one0", "down"]);
    expect((await told(site, { ...flow, to: "10.60.0.1" })).outcome).toBe("dropped");
  });

  hostTest("connections that are there already are told", async () => {
    await using site = await traceSite(heddle);
    const [a, b] = [await site.attach("one"), await site.attach("two")];
    await site.serve(b.netns.path, LISTENING);
    const flow = { from: a, to: b.address, port: LISTENING, protocol: "udp" as const };
    expect((await site.trace(flow)).existing).toEqual([]);
    expect(await site.send(flow)).toBe("answered");
    expect((await site.trace(flow)).existing).toEqual([
      expect.stringMatching(
        /^from port \d+: goes to 10\.61\.0\.2 port 80, as from 10\.61\.0\.1 port \d+$/,
      ) as never,
    ]);
  });

  hostTest("tells people, and refuses what it cannot understand", async () => {
    await using site = await traceSite(heddle);
    const a = await site.attach("one");
    const echo = await site.host.cli(["trace", "--from", a.key, "--to", "10.60.0.1"], {});
    expect([echo.code, echo.stderr]).toEqual([0, ""]);
    expect(echo.stdout).toContain("a program sends icmp to 10.60.0.1");
    expect(echo.stdout).toEndWith("passes: delivered to host by one0\n");
    expect(echo.stdout).not.toContain("\u001b");
    for (const [argv, why] of [
      [["--to", "nowhere"], '"nowhere" is not an IP address'],
      [["--to", "10.0.0.1:0"], "port 0 is not one of 1 to 65535"],
      [["--to", "10.0.0.1:70000"], "port 70000 is not one of 1 to 65535"],
      [["--to", "10.0.0.1", "--protocol", "tcp"], "tcp needs a port"],
      [["--to", "10.0.0.1:80", "--protocol", "icmp"], "icmp has no ports"],
      [["--to", "10.0.0.1", "--protocol", "sctp"], "none of tcp, udp, icmp"],
    ] as const) {
      const { code, stderr } = await site.host.cli(["trace", "--from", a.key, ...argv], {});
      expect([code, stderr]).toEqual([2, expect.stringContaining(why) as never]);
    }
    const unknown = await site.host.cli(["trace", "--from", "zzz", "--to", "10.0.0.1"], {});
    expect(unknown.code).toBe(2);
  });
});
