import { describe, expect, test } from "bun:test";
import { nodesOf, statusOf } from "../../agent/status.ts";
import { begin } from "../../agent/step.ts";
import { agent, CONFIG, member, nodeOf } from "../../testing/agent-core.ts";
import { drainsLate, eventText, nodesText, routesText, statusText } from "./ask.ts";

const about = { node: "host1", provider: "flannel", version: "1.0", pid: 7, startedAt: 0 };

describe("the agent's status for people", () => {
  test("says what an agent without a store still lacks", () => {
    expect(statusText(statusOf(begin(0), about))).toBe(
      [
        "ready  no (running)",
        "node   host1, agent 1.0, process 7 since 1970-01-01T00:00:00.000Z",
        "lease  none",
        "store  answers",
        "nodes  0 in the store, 0 peers",
      ].join("\n"),
    );
  });

  test("says what fails, and for how long the store is away", () => {
    const a = agent();
    a.tell({ kind: "time" });
    a.tell({ kind: "config-read", text: CONFIG });
    a.tell({ kind: "failed", job: "host", why: "there is no eth1" });
    a.tell({ kind: "failed", job: "nodes", why: "connection refused" });
    const text = statusText(statusOf(a.state, about));
    expect(text).toContain("failing  host: there is no eth1");
    expect(text).toMatch(/^store +does not answer since \S+: connection refused$/m);
  });

  test("says that the store has no configuration, and which one is in use instead", () => {
    const a = agent();
    a.tell({ kind: "config-missing", why: "no configuration in /key" });
    expect(statusText(statusOf(a.state, about))).toMatch(/^config +no configuration in \/key$/m);
    const b = member();
    b.tell({ kind: "config-missing", why: "no configuration in /key" });
    expect(statusText(statusOf(b.state, about))).toMatch(/^config +no .+; the last good one is in use$/m);
  });

  test("says where a member stands", () => {
    const { state } = member("10.0.1.0/24", [nodeOf("10.0.2.0/24", "192.0.2.2")]);
    const text = statusText(statusOf(state, about));
    for (const line of [
      "ready    yes",
      "network  10.0.0.0/16 over vxlan",
      "subnet   10.0.1.0/24",
      "lease    held for ever",
      "address  192.0.2.1 on eth0",
      "MTU      1450 bytes in containers",
      "nodes    1 in the store, 1 peers",
    ])
      expect(text).toContain(line);
  });

  test("says of a host that cannot leave what it waits for, and what to do", () => {
    const a = member();
    a.tell({ kind: "drain" });
    a.tell({ kind: "failed", job: "release", why: "http://192.0.2.9:2379: connection refused" });
    const held = drainsLate(statusOf(a.state, about));
    expect(held.message).toBe(
      "10.0.1.0/24 is not given back yet: http://192.0.2.9:2379: connection refused; the agent goes on trying",
    );
    expect(held.detail.next).toStartWith(
      "see to it that the store that is named answers this host; heddle agent status ",
    );
    a.pass(40_000);
    a.tell({ kind: "done", job: "release" });
    a.tell({ kind: "failed", job: "firewall", why: "iptables-restore: busy" });
    const rest = drainsLate(statusOf(a.state, about));
    expect(rest.message).toContain("still on this host: firewall: iptables-restore: busy; ");
    expect(rest.detail.next).toContain("heddle agent events -f");
  });

  test("shows nothing to a terminal that others could have meant for it", () => {
    const { state } = member("10.0.1.0/24", [{ id: "evil\u001b[31m\nnode", why: "x\u0007y" }]);
    expect(nodesText(nodesOf(state)).split("\n")).toHaveLength(2);
    expect(nodesText(nodesOf(state))).not.toContain("\u001b");
    const event = {
      number: 1,
      at: "1970-01-01T00:00:00Z",
      level: "info",
      code: "ready",
      text: "a\u001bb",
    } as const;
    expect(eventText(event)).not.toContain("\u001b");
  });

  test("has a line for each route", () => {
    const row = { to: "10.0.2.0/24", node: "host2", via: "192.0.2.2", link: "eth0", problem: null };
    expect(routesText([row, { ...row, to: "10.0.3.0/24", problem: "ENETUNREACH" }])).toBe(
      [
        "TO           NODE   VIA        LINK  STATE",
        "10.0.2.0/24  host2  192.0.2.2  eth0  ok",
        "10.0.3.0/24  host2  192.0.2.2  eth0  ENETUNREACH",
      ].join("\n"),
    );
  });
});
