/** The agent with the rights of its pod in examples/kubernetes/: few capabilities, and kernel parameters that cannot be written. */
import { describe, expect } from "bun:test";
import { readFileSync } from "node:fs";
import { inProject } from "../../scripts/paths.ts";
import { agentHosts, type AgentHost, reaches } from "../../src/testing/agent-hosts.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { type JsonObject, listAt, objectAt, plain } from "../../src/testing/kubernetes/json.ts";
import { testWith } from "../../src/testing/needs.ts";

const heddle = heddleOfFile();
const podTest = testWith({ root: true, programs: ["ip", "mount", "setpriv", "unshare"] });

/** What the container may, as the words of setpriv. */
function rights(): readonly string[] {
  const text = readFileSync(inProject("examples/kubernetes/heddle-flannel.yaml"), "utf8");
  const objects = Bun.YAML.parse(text) as readonly JsonObject[];
  const set = objects.find((object) => object["kind"] === "DaemonSet");
  const [container] = listAt(
    objectAt(set, "spec", "template", "spec"),
    "containers",
  ) as readonly JsonObject[];
  const may = listAt(objectAt(container, "securityContext", "capabilities"), "add").map(plain);
  const bounds = ["-all", ...may.map((word) => `+${word.toLowerCase()}`)].join(",");
  return ["setpriv", "--no-new-privs", `--bounding-set=${bounds}`, "--inh-caps=-all"];
}

/** Runtimes give a container that is not privileged /proc/sys to read alone. */
const READ_ONLY = 'mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys; exec "$@"';
const pod = ["unshare", "--mount", "sh", "-ec", READ_ONLY, "sh", ...rights()];
/** The image has no programs of iptables. */
const BARE = `mount -t tmpfs none /usr/sbin; ${READ_ONLY}`;
const barePod = ["unshare", "--mount", "sh", "-ec", BARE, "sh", ...rights()];
const DROPPING =
  "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }";
const withoutIptables = testWith({
  root: true,
  programs: ["ip", "iptables-nft", "mount", "nft", "setpriv", "unshare"],
});

describe("an agent with the rights of its pod", () => {
  for (const type of ["vxlan", "host-gw", "udp"])
    podTest(`carries packets over ${type}`, async () => {
      await using made = await agentHosts({
        heddle: heddle.path,
        count: 2,
        network: { Network: "10.244.0.0/16", EnableNFTables: true, Backend: { Type: type } },
        agent: { masquerade: true },
      });
      for (const host of made.hosts) host.start(pod);
      for (const host of made.hosts)
        await host.until("ready with its peer", (s) => s.ready && s.nodes.peers === 1);
      const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
      const [from, to] = [await one.container(), await two.container()];
      // Who carries packets hears of a peer a moment after the agent has.
      while (!(await reaches(from.net, to)));
      const failed = (await one.events()).filter((code) => code.endsWith("-failed"));
      expect(failed).toEqual([]);
    });

  withoutIptables("says what to run on a host that drops what it forwards, until that was done", async () => {
    await using made = await agentHosts({
      heddle: heddle.path,
      count: 2,
      network: { Network: "10.244.0.0/16", Backend: { Type: "host-gw" } },
      agent: { masquerade: true },
    });
    const [one, two] = made.hosts as readonly [AgentHost, AgentHost];
    await one.net.exec(["nft", DROPPING]);
    for (const host of made.hosts) host.start(barePod);
    await two.until("ready with its peer", (s) => s.ready && s.nodes.peers === 1);
    const { hindrances } = await one.until("hindered", (s) => s.ready && s.hindrances.length > 0);
    expect(await one.ask("status")).toMatch(
      /^firewall +chain FORWARD of table ip filter drops by its policy/m,
    );
    const [from, to] = [await one.container(), await two.container()];
    expect(await reaches(from.net, to)).toBe(false);
    for (const command of hindrances.join("; ").match(/iptables -I [^;]+/g) ?? [])
      await one.net.exec(command.replace("iptables", "iptables-nft").split(" "));
    await one.until("free", (s) => s.hindrances.length === 0);
    expect(await reaches(from.net, to)).toBe(true);
    const codes = (await one.events()).filter((code) => code.startsWith("firewall-"));
    expect(codes).toEqual(["firewall-hindered", "firewall-free"]);
  });
});
