/** Two agents on each host, of two networks that know nothing of each other: neither harms the other. */
import { describe, expect } from "bun:test";
import { type AgentHost, agentHosts, type AgentHosts, reaches } from "../../src/testing/agent-hosts.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTest } from "../../src/testing/needs.ts";
import { patience } from "../../src/testing/slowdown.ts";
import type { TestNetns } from "../../src/testing/netns.ts";

const heddle = heddleOfFile();
const SECOND = { name: "second", routeProtocol: 74 };

interface Fabric {
  readonly backend: object;
  readonly agent?: object;
}

/** Two hosts with an agent of each of two networks; all of them are ready. */
async function twoFabrics(
  one: Fabric,
  two: Fabric,
): Promise<AsyncDisposable & { readonly one: AgentHosts; readonly two: AgentHosts }> {
  await using stack = new AsyncDisposableStack();
  const of = { heddle: heddle.path, count: 2 };
  const first = stack.use(
    await agentHosts({
      ...of,
      network: { Network: "10.244.0.0/16", Backend: one.backend },
      agent: one.agent ?? {},
    }),
  );
  const second = stack.use(
    await agentHosts({
      ...of,
      network: { Network: "10.99.0.0/16", Backend: two.backend },
      agent: { ...SECOND, ...two.agent },
      beside: first.hosts,
    }),
  );
  const all = [...first.hosts, ...second.hosts];
  for (const host of all) host.start();
  for (const host of all) await host.until("ready", (s) => s.ready && s.nodes.peers === 1);
  const kept = stack.move();
  return { one: first, two: second, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

type Container = Awaited<ReturnType<AgentHost["container"]>>;
const containersOf = async ({ hosts }: AgentHosts): Promise<readonly [Container, Container]> => {
  const [a, b] = hosts as readonly [AgentHost, AgentHost];
  return [await a.container(), await b.container()];
};
const firstOf = ({ hosts }: AgentHosts): AgentHost => hosts[0] as AgentHost;
const rulesOf = async (net: TestNetns): Promise<string> =>
  (await net.exec(["nft", "list", "ruleset"])).stdout;

describe.each([
  ["vxlan", "udp", { Type: "vxlan" }, { Type: "udp" }],
  ["udp", "vxlan", { Type: "udp" }, { Type: "vxlan" }],
  ["udp", "udp on another port", { Type: "udp" }, { Type: "udp", Port: 8286 }],
  ["vxlan", "vxlan with another number", { Type: "vxlan" }, { Type: "vxlan", VNI: 2 }],
] as const)("two agents on each host, over %s and over %s", (_one, _two, backend, other) => {
  kernelTest("both carry, and when one drains the other stays whole", async () => {
    await using made = await twoFabrics({ backend, agent: { masquerade: true } }, { backend: other });
    const [a, b] = await containersOf(made.one);
    const [c, d] = await containersOf(made.two);
    expect([await reaches(a.net, b), await reaches(c.net, d)]).toEqual([true, true]);
    // Nobody puts right what the other does.
    const events = [...(await firstOf(made.one).events()), ...(await firstOf(made.two).events())];
    expect(events.filter((code) => /repaired|fight|failed|lost/.test(code))).toEqual([]);
    await firstOf(made.two).ask("drain");
    await firstOf(made.two).until("drained", (s) => s.mode === "drained");
    expect([await reaches(a.net, b), await reaches(c.net, d)]).toEqual([true, false]);
    expect(await firstOf(made.one).events()).not.toContain("carrier-lost");
    expect(await rulesOf(firstOf(made.one).net)).toContain("FLANNEL-POSTRTG");
  });

  kernelTest("the second stays whole when the first drains", async () => {
    await using made = await twoFabrics({ backend }, { backend: other, agent: { masquerade: true } });
    const [a, b] = await containersOf(made.one);
    const [c, d] = await containersOf(made.two);
    expect([await reaches(a.net, b), await reaches(c.net, d)]).toEqual([true, true]);
    await firstOf(made.one).ask("drain");
    await firstOf(made.one).until("drained", (s) => s.mode === "drained");
    expect([await reaches(a.net, b), await reaches(c.net, d)]).toEqual([false, true]);
    expect(await firstOf(made.two).events()).not.toContain("carrier-lost");
    expect(await rulesOf(firstOf(made.two).net)).toContain("FLANNEL-POSTRTG-second");
  });
});

describe("two agents on a host that want the same thing", () => {
  kernelTest("are not both started, whatever sockets they are asked at", async () => {
    const of = { heddle: heddle.path, count: 1, network: { Network: "10.244.0.0/16" } };
    await using one = await agentHosts(of);
    await using two = await agentHosts({ ...of, beside: one.hosts });
    firstOf(one).start();
    await firstOf(one).until("ready", (s) => s.ready);
    // Until it has ended.
    await new Response(firstOf(two).start().stdout).text();
    expect(await firstOf(two).status()).toBeUndefined();
    expect(await firstOf(one).status()).toMatchObject({ ready: true });
  });

  kernelTest.each([
    ["port", { Type: "udp" }, /carrier-failed/, /8285/],
    ["link", { Type: "vxlan" }, /kernel-failed/, /flannel\.1, which is another fabric's/],
  ] as const)("are told so if it is a %s, and the first goes on", async (_, backend, code, why) => {
    await using one = await agentHosts({
      heddle: heddle.path,
      count: 2,
      network: { Network: "10.244.0.0/16", Backend: backend },
    });
    await using two = await agentHosts({
      heddle: heddle.path,
      count: 2,
      network: { Network: "10.99.0.0/16", Backend: backend },
      agent: SECOND,
      beside: one.hosts,
    });
    for (const host of one.hosts) host.start();
    for (const host of one.hosts) await host.until("ready", (s) => s.ready && s.nodes.peers === 1);
    const [a, b] = await containersOf(one);
    expect(await reaches(a.net, b)).toBe(true);
    const second = firstOf(two);
    second.start();
    const end = Date.now() + patience(15_000);
    while (Date.now() < end && !(await second.events().catch(() => [])).some((c) => code.test(c)));
    expect(await second.ask("status")).toMatch(why);
    expect(await reaches(a.net, b)).toBe(true);
    expect(await firstOf(one).events()).not.toContain("carrier-lost");
  });
});
