/**
 * `heddle trace` beside reality: each situation is traced, then the packet is sent, then it is traced again, when everything
 * that the first one taught is remembered. What passes arrives, and what is dropped does not.
 */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { bridgeNetfilter, type Flow, told, traceSite } from "./trace-site.ts";

const heddle = heddleOfFile();
const hostTest = testWith({ root: true, programs: ["ip", "nft", "iptables", "tc", "nsenter", "unshare"] });

const TCP = { hostPort: 8080, containerPort: 80, protocol: "tcp" };
const LISTENING = 80;

describe("heddle trace", () => {
  hostTest("containers of one bridge reach each other, where somebody listens", async () => {
    await using site = await traceSite(heddle);
    const [a, b] = [await site.attach("one"), await site.attach("one")];
    await site.serve(b.netns.path, LISTENING);
    for (const protocol of ["tcp", "udp"] as const) {
      const open = await told(site, { from: a, to: b.address, port: LISTENING, protocol });
      expect([open.outcome, open.listening, open.ends]).toEqual(["passes", true, "delivered"]);
      const shut = await told(site, { from: a, to: b.address, port: 81, protocol });
      expect([shut.outcome, shut.listening]).toEqual(["passes", false]);
      expect(shut.by).toContain(`nothing listens on ${protocol} port 81`);
    }
    const six = await told(site, { from: a, to: String(b.address6), port: LISTENING });
    expect([six.outcome, six.listening]).toEqual(["passes", true]);
    const nobody = await told(site, { from: a, to: "10.60.0.77", port: LISTENING });
    expect([nobody.outcome, nobody.by]).toEqual(["dropped", "nobody behind eth0 has the address 10.60.0.77"]);
  });

  for (const on of [false, true])
    hostTest(
      `containers of two bridges reach each other by the host${on ? ", with br_netfilter" : ""}`,
      async () => {
        await using site = await traceSite(heddle);
        await bridgeNetfilter(site.host, on);
        const [a, b] = [await site.attach("one"), await site.attach("two")];
        await site.serve(b.netns.path, LISTENING);
        const four = await told(site, { from: a, to: b.address, port: LISTENING });
        expect(four.steps.map((s) => s.text)).toContain(`postrouting: source ${a.address} is now 10.61.0.1`);
        const six = await told(site, { from: a, to: String(b.address6), port: LISTENING });
        expect([four.outcome, six.outcome]).toEqual(["passes", "passes"]);
        await site.nft(
          "table inet mine { chain c { type filter hook forward priority 5; ip daddr 10.61.0.0/24 drop; }\n }",
        );
        const dropped = await told(site, { from: a, to: b.address, port: LISTENING });
        expect([dropped.outcome, dropped.packet, dropped.by, dropped.where]).toEqual([
          "dropped",
          "first",
          "inet mine c: ip daddr 10.61.0.0/24 drop",
          "host",
        ]);
        expect((await told(site, { from: a, to: String(b.address6), port: LISTENING })).outcome).toBe(
          "passes",
        );
      },
    );

  hostTest("a machine outside answers to masqueraded containers, and to no other", async () => {
    await using site = await traceSite(heddle);
    const [one, two, point] = [
      await site.attach("one"),
      await site.attach("two"),
      await site.attach("point"),
    ];
    await site.serve(site.outside.path, LISTENING);
    for (const from of [one, point]) {
      const out = await told(site, { from, to: "10.95.0.2", port: LISTENING });
      expect([out.outcome, out.where]).toEqual(["passes", `namespace ${site.outside.name}`]);
    }
    const lost = await told(site, { from: two, to: "10.95.0.2", port: LISTENING });
    expect([lost.outcome, lost.packet, lost.ends]).toEqual(["dropped", "answer", "delivered"]);
    expect(lost.by).toBe("no route to 10.61.0.2");
    await site.nft(
      "table inet in { chain c { type filter hook input priority 0; tcp dport 80 reject; }\n }",
      site.outside,
    );
    const blocked = await told(site, { from: one, to: "10.95.0.2", port: LISTENING });
    expect([blocked.outcome, blocked.by]).toEqual([
      "dropped",
      "inet in c: meta l4proto tcp th dport 80 reject (the sender is told)",
    ]);
  });

  for (const on of [false, true])
    hostTest(`a host port leads to its container${on ? ", with br_netfilter" : ""}`, async () => {
      await using site = await traceSite(heddle);
      await bridgeNetfilter(site.host, on);
      const [a, b, c] = [
        await site.attach("one", [TCP]),
        await site.attach("two"),
        await site.attach("point"),
      ];
      await site.serve(a.netns.path, LISTENING);
      for (const from of [b, c]) {
        const reached = await told(site, { from, to: "10.95.0.1", port: 8080 });
        expect([reached.outcome, reached.listening]).toEqual(["passes", true]);
        expect(reached.steps.map((s) => s.text).join("\n")).toContain(
          "destination 10.95.0.1 port 8080 is now 10.60.0.2 port 80",
        );
      }
    });

  for (const on of [false, true])
    hostTest(`a host port is reached from its own bridge${on ? ", with br_netfilter" : ""}`, async () => {
      await using site = await traceSite(heddle);
      await bridgeNetfilter(site.host, on);
      const [a, b] = [await site.attach("one", [TCP]), await site.attach("one")];
      await site.serve(a.netns.path, LISTENING);
      for (const [from, to] of [
        [b, "10.60.0.1"],
        [b, "10.95.0.1"],
        [a, "10.60.0.1"],
        [b, "fd60::1"],
      ] as const)
        // A bridge that translates by itself sends nothing back by the port that it came in by, without hairpinMode.
        expect((await told(site, { from, to, port: 8080 })).outcome).toBe(
          on && from === a ? "dropped" : "passes",
        );
    });

  hostTest("the host itself is reached, unless its rules say otherwise", async () => {
    await using site = await traceSite(heddle);
    const a = await site.attach("one");
    await site.serve(site.home, LISTENING);
    expect((await told(site, { from: a, to: "10.60.0.1", port: LISTENING })).where).toBe("host");
    expect((await told(site, { from: a, to: "10.95.0.1", port: LISTENING })).outcome).toBe("passes");
    await site.host.exec([
      "iptables",
      "-A",
      "INPUT",
      "-p",
      "tcp",
      "--dport",
      "80",
      "-m",
      "conntrack",
      "--ctstate",
      "NEW",
      "-j",
      "DROP",
    ]);
    const dropped = await told(site, { from: a, to: "10.60.0.1", port: LISTENING });
    expect([dropped.outcome, dropped.packet]).toEqual(["dropped", "first"]);
    expect(dropped.by).toStartWith("ip filter INPUT: ");
    expect((await told(site, { from: a, to: "10.60.0.1", port: LISTENING, protocol: "udp" })).outcome).toBe(
      "passes",
    );
  });

  hostTest("names the rule or the policy of iptables that drops", async () => {
    await using site = await traceSite(heddle);
    const [a, b] = [await site.attach("one"), await site.attach("two")];
    await site.serve(b.netns.path, LISTENING);
    const flow = { from: a, to: b.address, port: LISTENING };
    await site.host.exec(["iptables", "-P", "FORWARD", "DROP"]);
    expect((await told(site, flow)).by).toBe("the policy of ip filter FORWARD");
    await site.host.exec([
      "iptables",
      "-A",
      "FORWARD",
      "-m",
      "comment",
      "--comment",
      "mine",
      "-p",
      "tcp",
      "--dport",
      "80",
      "-j",
      "ACCEPT",
    ]);
    const oneWay = await told(site, flow);
    expect([oneWay.outcome, oneWay.packet]).toEqual(["dropped", "answer"]);
    await site.host.exec([
      "iptables",
      "-A",
      "FORWARD",
      "-m",
      "conntrack",
      "--ctstate",
      "RELATED,ESTABLISHED",
      "-j",
      "ACCEPT",
    ]);
    expect((await told(site, flow)).outcome).toBe("passes");
    await site.host.exec([
      "iptables",
      "-I",
      "FORWARD",
      "-m",
      "addrtype",
      "--dst-type",
      "UNICAST",
      "-m",
      "multiport",
      "-p",
      "tcp",
      "--dports",
      "1,79:81",
      "-j",
      "REJECT",
    ]);
    expect((await told(site, flow)).by).toStartWith("ip filter FORWARD: ");
  });

  hostTest("the plugin firewall keeps others out", async () => {
    await using site = await traceSite(heddle);
    const [w1, w2, c1, c2, other] = [
      await site.attach("walled"),
      await site.attach("walled"),
      await site.attach("closed"),
      await site.attach("closed"),
      await site.attach("one"),
    ];
    for (const at of [w2, c2]) await site.serve(at.netns.path, LISTENING);
    const outcome = async (flow: Flow): Promise<string> => (await told(site, flow)).outcome;
    expect(await outcome({ from: w1, to: w2.address, port: LISTENING })).toBe("passes");
    expect(await outcome({ from: c1, to: w2.address, port: LISTENING })).toBe("dropped");
    expect(await outcome({ from: other, to: w2.address, port: LISTENING })).toBe("passes");
    expect(await outcome({ from: c1, to: c2.address, port: LISTENING })).toBe("dropped");
    expect(await outcome({ from: w1, to: c2.address, port: LISTENING })).toBe("dropped");
  });

  hostTest("isolated ports of a bridge reach the host and not each other", async () => {
    await using site = await traceSite(heddle);
    const [a, b] = [await site.attach("apart"), await site.attach("apart")];
    await site.serve(b.netns.path, LISTENING);
    await site.serve(site.home, LISTENING);
    expect((await told(site, { from: a, to: "10.65.0.1", port: LISTENING })).outcome).toBe("passes");
    const apart = await told(site, { from: a, to: b.address, port: LISTENING });
    expect([apart.outcome, apart.by]).toEqual([
      "dropped",
      expect.stringContaining("are isolated from each other") as never,
    ]);
  });

  hostTest("macvlans reach each other and what is outside, and never the host below", async () => {
    await using site = await traceSite(heddle);
    const [a, b] = [await site.attach("lanes"), await site.attach("lanes")];
    await site.serve(b.netns.path, LISTENING);
    await site.serve(site.outside.path, LISTENING);
    await site.serve(site.home, LISTENING);
    expect((await told(site, { from: a, to: b.address, port: LISTENING })).outcome).toBe("passes");
    expect((await told(site, { from: a, to: "10.95.0.2", port: LISTENING })).outcome).toBe("passes");
    const host = await told(site, { from: a, to: "10.95.0.1", port: LISTENING });
    expect([host.outcome, host.by]).toEqual(["dropped", "nobody behind eth0 has the address 10.95.0.1"]);
  });

  hostTest("names what is wrong with routing", async () => {
    await using site = await traceSite(heddle);
    const [a, b] = [await site.attach("one"), await site.attach("two")];
    await site.serve(b.netns.path, LISTENING);
    const flow = { from: a, to: b.address, port: LISTENING };
    const why = async (of: Flow = flow): Promise<string> => {
      const { outcome, by } = await told(site, of);
      expect(outcome).toBe("dropped");
      return by;
    };
    const host = async (...argv: readonly string[]): Promise<unknown> => site.host.exec(argv);
    await host("sysctl", "-qw", "net.ipv4.ip_forward=0");
    expect(await why()).toBe("forwarding is off (net.ipv4.conf.one0.forwarding)");
    await host("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=0");
    expect(await why({ ...flow, to: String(b.address6) })).toContain("IPv6 forwarding is off");
    await host("ip", "route", "add", "blackhole", `${b.address}/32`);
    expect(await why()).toBe(`a blackhole route to ${b.address}`);
    await host("ip", "route", "del", "blackhole", `${b.address}/32`);
    await host("ip", "rule", "add", "from", a.address, "prohibit");
    expect(await why()).toContain("prohibit");
    await host("ip", "rule", "del", "from", a.address, "prohibit");
    await host("ip", "route", "add", `${a.address}/32`, "dev", "up0");
    await host("sysctl", "-qw", "net.ipv4.conf.one0.rp_filter=1");
    expect(await why()).toBe(`rp_filter of one0: the way back to ${a.address} is another`);
    await host("ip", "route", "del", `${a.address}/32`, "dev", "up0");
    await a.netns.exec(["ip", "route", "del", "default"]);
    expect(await why()).toBe(`no route to ${b.address}`);
    await a.netns.exec(["ip", "route", "add", "unreachable", "default"]);
    expect(await why()).toContain("unreachable");
    await a.netns.exec(["ip", "link", "set", "eth0", "down"]);
    expect(await why()).toBe(`an unreachable route, or none, to ${b.address}`);
  });

  hostTest("says that it cannot tell where a rule decides by what nobody sees, and only there", async () => {
    await using site = await traceSite(heddle);
    const [a, b] = [await site.attach("one"), await site.attach("two")];
    await site.serve(b.netns.path, LISTENING);
    const flow = { from: a, to: b.address, port: LISTENING };
    const chain = (rules: string): string =>
      `table inet mine\ndelete table inet mine\ntable inet mine { chain c { type filter hook forward priority 5; ${rules} }\n }`;
    await site.nft(chain("ct state new limit rate 1/minute drop;"));
    const unsure = await site.trace(flow);
    expect([unsure.outcome, unsure.packet, unsure.by]).toEqual([
      "cannot tell",
      "first",
      expect.stringMatching(/^inet mine c: .*limit rate 1\/minute drop/) as never,
    ]);
    // What follows is the same either way.
    await site.nft(chain("limit rate 1/minute accept;"));
    expect((await told(site, flow)).outcome).toBe("passes");
    await site.nft(chain("limit rate 1/minute drop; tcp dport 80 drop;"));
    expect((await told(site, flow)).outcome).toBe("dropped");
    await site.nft(chain("tcp sport 40000-50000 drop;"));
    expect((await site.trace(flow)).outcome).toBe("cannot tell");
    await site.nft(chain("meta length 999 drop;"));
    expect((await site.trace(flow)).outcome).toBe("cannot tell");
    await site.nft("delete table inet mine");
    await site.host.exec(["tc", "qdisc", "add", "dev", "two0", "root", "netem", "loss", "1%"], {
      mustSucceed: false,
    });
    await site.host.exec(["tc", "qdisc", "add", "dev", "two0", "clsact"]);
    await site.host.exec([
      "tc",
      "filter",
      "add",
      "dev",
      "two0",
      "egress",
      "protocol",
      "ip",
      "u32",
      "match",
      "ip",
      "dport",
      "80",
      "0xffff",
      "flowid",
      "1:1",
    ]);
    const filtered = await site.trace(flow);
    expect([filtered.outcome, filtered.by]).toEqual([
      "cannot tell",
      expect.stringContaining("tc filter") as never,
    ]);
    await site.host.exec(["tc", "qdisc", "del", "dev", "two0", "clsact"]);
    await site.host.exec(["iptables-legacy", "-A", "FORWARD", "-s", "203.0.113.1", "-j", "DROP"]);
    const legacy = await site.trace(flow);
    expect([legacy.outcome, legacy.by]).toEqual([
      "cannot tell",
      "iptables-legacy (IPv4), table filter, chain FORWARD",
    ]);
    await site.host.exec(["iptables-legacy", "-F", "FORWARD"]);
    expect((await told(site, flow)).outcome).toBe("passes");
    await site.host.exec(["iptables-legacy", "-P", "FORWARD", "DROP"]);
    expect((await told(site, flow)).outcome).toBe("dropped");
  });
});
