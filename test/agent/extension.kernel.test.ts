/** Flannel's `extension` between agents on hosts of their own: the operator's commands are the data path. */
import { expect } from "bun:test";
import { chmodSync, existsSync, writeFileSync } from "node:fs";
import type { Status } from "../../src/agent/status.ts";
import { agentHosts, type AgentHost, reaches } from "../../src/testing/agent-hosts.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTest } from "../../src/testing/needs.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";

const heddle = heddleOfFile();
const ROUTES = {
  SubnetAddCommand: "ip route add $SUBNET via $PUBLIC_IP",
  SubnetRemoveCommand: 'ip route del "$SUBNET"',
};
/** As flanneld's manual makes a VXLAN. */
const VXLAN = `#!/bin/sh -e
base=\${SUBNET%/*}
case $1 in
prepare)
  ip link add ext0 type vxlan id 7 dstport 8472 nolearning
  ip -o link show ext0 | sed 's/.* link.ether \\([^ ]*\\).*/\\1/' ;;
start)
  ip address add "$base/32" dev ext0
  ip link set ext0 up ;;
add)
  read -r mac
  ip neighbour replace "$base" dev ext0 lladdr "$mac"
  bridge fdb replace "$mac" dev ext0 self dst "$PUBLIC_IP"
  ip route add "$SUBNET" via "$base" dev ext0 onlink ;;
remove)
  read -r mac
  ip route del "$SUBNET"
  ip neighbour del "$base" dev ext0
  bridge fdb del "$mac" dev ext0 self ;;
end)
  ip link del ext0 ;;
esac
`;

const hostsWith = (commands: object, count = 2) =>
  agentHosts({
    heddle: heddle.path,
    count,
    network: { Network: "10.244.0.0/16", Backend: { Type: "extension", ...commands } },
  });
const withPeers =
  (peers: number) =>
  (status: Status): boolean =>
    status.ready && status.nodes.peers === peers && status.failing.length === 0;
/** Routes that lead to other hosts. */
const routes = async (host: AgentHost): Promise<string> =>
  (await host.net.exec(["ip", "route", "show", "via", "192.0.2.0/24"])).stdout;

/** Waits until the host has so many routes to others. */
async function untilRoutes(host: AgentHost, count: number): Promise<string> {
  for (;;) {
    const now = await routes(host);
    if (now.split("\n").filter((line) => line !== "").length === count) return now;
    await Bun.sleep(10);
  }
}

kernelTest("hosts whose commands are ip route reach one another, and forget who left", async () => {
  await using made = await hostsWith(ROUTES, 3);
  const [one, two, three] = made.hosts as readonly [AgentHost, AgentHost, AgentHost];
  const first = one.start();
  two.start();
  three.start();
  for (const host of made.hosts) await host.until("ready with all peers", withPeers(2));
  const containers = await Promise.all(made.hosts.map((host) => host.container()));
  await untilRoutes(one, 2);
  for (const from of containers)
    for (const to of containers) if (to !== from) while (!(await reaches(from.net, to)));

  // The next agent finds what this one has added, and does nothing again; who left meanwhile is removed.
  await first[Symbol.asyncDispose]();
  const before = await routes(one);
  expect(JSON.parse(await three.ask("drain", "--json"))).toMatchObject({ mode: "drained" });
  await untilRoutes(two, 1);
  expect(await routes(three)).toBe("");
  expect(await routes(one)).toBe(before);
  one.start();
  await one.until("ready with one peer", withPeers(1));
  expect(before).toContain(await untilRoutes(one, 1));
  expect(await one.events()).not.toContain("command-failed");
  const [from, to] = containers;
  if (from === undefined || to === undefined) throw new Error("there are no containers");
  expect(await reaches(from.net, to)).toBe(true);

  expect(JSON.parse(await one.ask("drain", "--json"))).toMatchObject({ mode: "drained" });
  await untilRoutes(two, 0);
});

kernelTest("a script makes a VXLAN: what it prints on one host is its input on the others", async () => {
  using dir = tempDir("extension");
  const script = dir.in("vxlan");
  writeFileSync(script, VXLAN);
  chmodSync(script, 0o755);
  await using made = await hostsWith({
    PreStartupCommand: `${script} prepare`,
    PostStartupCommand: `${script} start`,
    SubnetAddCommand: `${script} add`,
    SubnetRemoveCommand: `${script} remove`,
    ShutdownCommand: `${script} end`,
  });
  for (const host of made.hosts) host.start();
  for (const host of made.hosts) await host.until("ready with its peer", withPeers(1));
  const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
  const [from, to] = [await one.container(), await two.container()];
  while (!(await reaches(from.net, to)));
  expect(JSON.parse(await one.ask("drain", "--json"))).toMatchObject({ mode: "drained" });
  expect((await one.net.exec(["ip", "-br", "link"])).stdout).not.toContain("ext0");
  expect(existsSync(one.subnetFile)).toBe(false);
  while ((await two.net.exec(["ip", "route", "show", "dev", "ext0"])).stdout !== "") await Bun.sleep(10);
  expect(await two.events()).not.toContain("command-failed");
});

kernelTest("a command that fails is told with its last line, and done when it can be", async () => {
  await using made = await hostsWith(ROUTES);
  const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
  two.start();
  const { subnet } = await two.until("ready", withPeers(0));
  await one.ip(`route add blackhole ${subnet ?? ""}`);
  one.start();
  const failing = await one.until("failing", (s) => s.failing.length > 0);
  expect(failing.failing[0]?.why).toStartWith(
    "SubnetAddCommand: exit code 2: RTNETLINK answers: File exists",
  );
  // The removal that comes before the next try makes room.
  await one.until("ready with its peer", withPeers(1));
  expect(await untilRoutes(one, 1)).toStartWith(`${subnet ?? ""} via 192.0.2.2`);
  expect(await one.events()).toContain("command-right");
});
