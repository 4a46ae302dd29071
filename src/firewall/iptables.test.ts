import { describe, expect, test } from "bun:test";
import { type Family } from "../net/ip.ts";
import { nobodyLives } from "../testing/nftables.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { openIptables } from "./iptables.ts";
import { furtherChain, masqueradeChain } from "./iptables-names.ts";
import type { Output, Run } from "./iptables-run.ts";
import type { FirewallRule, FirewallState } from "./model.ts";
import { cidr as prefix, ip } from "../testing/address.ts";

/** The order of the programs and what follows from their failures; what the rules do is tested on a kernel. */
const MARK = "heddle-bridge-0123456789ab-0123456789abcdef";
const masquerade: FirewallRule = {
  kind: "masquerade",
  address: ip("10.99.0.2"),
  subnet: prefix("10.99.0.0/24"),
};
const mapping = (more: object = {}): FirewallRule => ({
  kind: "port-mapping",
  ...{ protocol: "tcp", hostPort: 80, target: ip("10.99.0.2"), targetPort: 80 },
  ...{ subnet: prefix("10.99.0.0/24"), masquerade: "local" },
  ...more,
});
const state = (...rules: FirewallRule[]): FirewallState => ({
  backend: "iptables",
  rules,
  network: "mynet",
  containerId: "cid",
});
const done: Output = { code: 0, stdout: "", stderr: "" };
const refused = (stderr: string, code = 1): Output => ({ code, stdout: "", stderr });

function scripted(answer: (program: string, stdin: string, n: number) => Output | undefined) {
  const folder = tempDir("iptables");
  const calls: string[] = [];
  const inputs: string[] = [];
  const run: Run = (program, _, stdin) => {
    calls.push(program);
    inputs.push(stdin);
    return answer(program, stdin, calls.length);
  };
  const backend = openIptables({
    run,
    lockPath: folder.in("deep", "lock"),
    probe: (_, names) => names === undefined,
  });
  return { backend, calls, inputs, [Symbol.dispose]: () => folder[Symbol.dispose]() };
}

describe("the iptables backend", () => {
  test("says which package is missing", () => {
    using t = scripted(() => undefined);
    expect(() => t.backend.apply(state(masquerade), MARK, nobodyLives)).toThrow("package iptables");
    expect(() => t.backend.verify(state(masquerade), MARK, nobodyLives)).toThrow("package iptables");
  });

  test("removes nothing, and says nothing, where the programs are missing", () => {
    using t = scripted(() => undefined);
    t.backend.remove(MARK, state(masquerade));
    t.backend.remove(MARK);
    t.backend.prune("heddle-", new Set());
  });

  test("reads the tables when the short way is refused, and throws if the long way is refused the same", () => {
    using t = scripted((program) => (program.endsWith("save") ? done : refused("line 3 failed: no room")));
    expect(() => t.backend.apply(state(masquerade), MARK, nobodyLives)).toThrow(
      "iptables-restore: line 3 failed: no room",
    );
    expect(t.calls).toEqual(["iptables-restore", "iptables-save", "iptables-restore", "iptables-save"]);
  });

  test("decides anew when another program changed the tables between", () => {
    const mine = "*nat\n:CNI-HOSTPORT-DNAT - [0:0]\nCOMMIT\n";
    using t = scripted((program, _, n) => {
      if (program.endsWith("save")) return { ...done, stdout: n > 1 ? mine : "" };
      return n === 2 ? refused("Chain already exists") : done;
    });
    t.backend.apply(state(mapping()), MARK, nobodyLives);
    expect(t.calls).toEqual(["iptables-save", "iptables-restore", "iptables-save", "iptables-restore"]);
    expect(t.inputs[1]).toContain("-N CNI-HOSTPORT-DNAT");
    expect(t.inputs[3]).not.toContain("-N CNI-HOSTPORT-DNAT");
  });

  test("a lock that is held is something to try again", () => {
    using t = scripted((program) =>
      program.endsWith("save") ? done : refused("Another app is holding the lock", 4),
    );
    expect(() => t.backend.apply(state(masquerade), MARK, nobodyLives)).toThrow(
      expect.objectContaining({ code: "try-again" }),
    );
  });

  test("removal does both families before it throws what failed", () => {
    using t = scripted((program) => (program === "iptables-save" ? refused("broken") : done));
    expect(() => t.backend.remove(MARK)).toThrow("broken");
    expect(t.calls).toEqual(["iptables-save", "ip6tables-save"]);
  });

  test("a masquerade takes the long way where the attachment may have the chain of a second interface", () => {
    const calls: string[] = [];
    const run: Run = (program) => {
      calls.push(program);
      return done;
    };
    using folder = tempDir("iptables");
    const asked: (readonly string[] | undefined)[] = [];
    const probe = (_: Family, names?: readonly string[]): boolean => asked.push(names) > 0;
    openIptables({ run, lockPath: folder.in("lock"), probe }).apply(state(masquerade), MARK, nobodyLives);
    expect(asked).toEqual([[furtherChain(masqueradeChain("mynet", "cid"), MARK)]]);
    expect(calls).toEqual(["iptables-save", "iptables-restore"]);
  });

  test("removal asks no program where there can be nothing", () => {
    const calls: string[] = [];
    const run: Run = (program) => {
      calls.push(program);
      return done;
    };
    using folder = tempDir("iptables");
    const asked: string[] = [];
    const probe = (family: Family, _?: readonly string[], table = "nat"): boolean =>
      asked.push(`${table} ${family}`) < 0;
    openIptables({ run, lockPath: folder.in("lock"), probe }).remove(MARK);
    expect([asked.sort(), calls]).toEqual([["filter 4", "filter 6", "nat 4", "nat 6"], []]);
  });

  test("a family without programs is missed only by who has an address of it", () => {
    using folder = tempDir("iptables");
    const run: Run = (program) => (program.startsWith("ip6") ? undefined : done);
    const backend = openIptables({ run, lockPath: folder.in("lock"), probe: () => false });
    const accept = (address: string): FirewallRule => ({ kind: "accept-forward", address: ip(address) });
    backend.apply(state(accept("10.1.2.3")), MARK, nobodyLives);
    expect(() => backend.apply(state(accept("10.1.2.3"), accept("fd00::3")), MARK, nobodyLives)).toThrow(
      "the iptables backend for IPv6 is not available",
    );
  });

  test("a family that cannot be accepted in takes the other one back", () => {
    using folder = tempDir("iptables");
    const loaded: string[] = [];
    const chains = ["FORWARD", "CNI-FORWARD", "CNI-ADMIN", "CNI-FORWARD-OWNERS"].map((c) => `:${c} - [0:0]`);
    const run: Run = (program, _, stdin) => {
      if (program === "ip6tables-restore") return { code: 2, stdout: "", stderr: "no such table" };
      if (program === "iptables-restore") loaded.push(stdin);
      const rules = (loaded.at(-1) ?? "").split("\n").filter((line) => line.startsWith("-A"));
      const text = ["*filter", ...chains, ...rules, "COMMIT", ""].join("\n");
      return program === "iptables-save" && loaded.length > 0 ? { ...done, stdout: text } : done;
    };
    const probe = (family: Family, _?: readonly string[], table?: string): boolean =>
      family === 4 && table === "filter";
    const backend = openIptables({ run, lockPath: folder.in("lock"), probe });
    const accept = (address: string): FirewallRule => ({ kind: "accept-forward", address: ip(address) });
    expect(() => backend.apply(state(accept("10.1.2.3"), accept("fd00::3")), MARK, nobodyLives)).toThrow(
      "no such table",
    );
    const [made = "", taken = ""] = loaded;
    const rulesOf = (text: string, verb: string): string[] =>
      text.split("\n").flatMap((l) => (l.startsWith(verb) && l.includes("10.1.2.3") ? [l.slice(3)] : []));
    expect(rulesOf(made, "-A")).toHaveLength(3);
    expect(rulesOf(taken, "-D").sort()).toEqual(rulesOf(made, "-A").sort());
  });

  test("what iptables cannot express is the caller's mistake, and nothing is run", () => {
    using t = scripted(() => done);
    const check = { kind: "mac-check", link: "veth0", mac: "02:00:00:00:00:01" } as FirewallRule;
    for (const rule of [check, mapping({ hostIp: ip("fd00::1") })])
      expect(() => t.backend.apply(state(masquerade, rule), MARK, nobodyLives)).toThrow(TypeError);
    expect(t.calls).toEqual([]);
  });

  test("a condition cannot begin another line of iptables-restore", () => {
    using t = scripted(() => done);
    const evil = { ...state(mapping()), iptables: { conditionsV4: ["-s", "10.0.0.1\nCOMMIT\n*filter\n-F"] } };
    expect(() => t.backend.apply(evil, MARK, nobodyLives)).toThrow("conditionsV4: contains a line break");
    expect(t.calls).toEqual([]);
    t.backend.remove(MARK, evil);
    expect(t.calls).toEqual(["iptables-save"]);
  });
});
