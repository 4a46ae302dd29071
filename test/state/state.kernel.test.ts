/**
 * What release 0.1.0 left on disk, as it wrote it, and today's program that goes on with it. A test that fails here says that an
 * upgrade would lose what containers have; what of it is of the moment (namespaces, MACs, times) is put in from a live one.
 */
import { describe, expect } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { cniHost } from "../../src/testing/cni-host.ts";
import { dhcpLab } from "../../src/testing/dhcp-lab.ts";
import { startServer } from "../../src/testing/dhcp-server.ts";
import {
  binding,
  connect,
  disconnect,
  dockerLab,
  endpointKey,
  PORTMAP,
  removeNetwork,
} from "../../src/testing/docker-lab.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { testNetns } from "../../src/testing/netns.ts";

const heddle = heddleOfFile();
const hostTest = testWith({ root: true, programs: ["ip", "nft", "nsenter", "setpriv", "unshare"] });

/** The files of a fixture by their paths. */
function filesOf(name: string): readonly (readonly [path: string, text: string])[] {
  const source = readFileSync(join(import.meta.dir, "0.1.0", name), "utf8");
  return [...source.matchAll(/^== (\S+)\n([^]*?)(?=^== |$(?![^]))/gm)].map(([, path = "", text = ""]) => [
    path,
    text,
  ]);
}
const jsonFiles = (dir: string): readonly string[] =>
  readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".json"));

describe("what 0.1.0 wrote", () => {
  hostTest("of attachments is put back by reload and removed by DEL", async () => {
    await using host = await cniHost(heddle);
    await using netns = await testNetns();
    const before = await host.snapshot([netns.path]);
    const call = { containerId: "c1", netns: netns.path, ifname: "eth0" };
    const net = { cniVersion: "1.1.0", name: "mynet" };
    const ipam = { type: "host-local", subnet: "10.88.0.0/24", dataDir: join(host.dir, "ipam") };
    const bridge = { ...net, type: "bridge", bridge: "mynet", isGateway: true, ipMasq: true, ipam };
    const first = await host.call(heddle.at("bridge"), { ...call, command: "ADD" }, bridge);
    const runtimeConfig = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] };
    const portmap = { ...net, type: "portmap", runtimeConfig, prevResult: first.result };
    expect((await host.call(heddle.at("portmap"), { ...call, command: "ADD" }, portmap)).code).toBe(0);
    const records = filesOf("records.txt");
    expect(records).toHaveLength(2);
    for (const [name, text] of records) {
      const path = join(host.dir, "run/attachments", name);
      // Found by the same name, or DEL would not find it.
      const [head = ""] = readFileSync(path, "utf8").split("\n");
      const { netns: live } = JSON.parse(head) as { readonly netns: object };
      const old = text
        .replace(/"netns":\{[^}]*\}/, `"netns":${JSON.stringify(live)}`)
        .replace(/"dataDir":"[^"]*"/, `"dataDir":${JSON.stringify(ipam.dataDir)}`);
      writeFileSync(path, old);
    }
    await host.exec(["nft", "flush", "ruleset"]);
    expect((await host.cli(["reload"], {})).code).toBe(0);
    const rules = (await host.exec(["nft", "list", "ruleset"])).stdout;
    expect(rules).toMatch(/tcp \. 8080 .*: 10\.88\.0\.2 \. 80/);
    expect(rules).toMatch(/10\.88\.0\.2 .*: goto masq_10\.88\.0\.0\/24/);
    // Without the configuration of ADD: what is to be removed is in the record alone.
    for (const type of ["portmap", "bridge"]) {
      const conf = { ...net, type, ...(type === "bridge" ? { ipam } : {}) };
      expect((await host.call(heddle.at(type), { ...call, command: "DEL" }, conf)).code).toBe(0);
    }
    expect(readdirSync(join(host.dir, "run/attachments"))).toEqual([]);
    expect((await netns.exec(["ip", "-br", "link"])).stdout).not.toContain("eth0");
    const after = await host.snapshot([netns.path]);
    // The bridge and what goes with it stay for other containers.
    expect(
      after.filter((line) => !before.includes(line) && /10\.88\.0\.2|veth|heddle-bridge/.test(line)),
    ).toEqual([]);
  });

  hostTest("of a DHCP lease is kept by the daemon, and given back by DEL", async () => {
    await using lab = await dhcpLab();
    const lan = { link: "lan", address: "10.9.0.1", first: "10.9.1.10", leaseSeconds: 3600 };
    await using server = await startServer(lab.server, lan);
    const first = await lab.daemon();
    expect((await lab.call("ADD")).code).toBe(0);
    await first.stop();
    const [[name, text] = ["", ""]] = filesOf("dhcp.txt");
    const path = join(lab.dir, "state", name);
    const live = JSON.parse(readFileSync(path, "utf8")) as Lease;
    const old = JSON.parse(text) as Lease;
    const terms = { ...old.terms, serverMac: live.terms.serverMac };
    const { netns, link, granted } = live;
    writeFileSync(path, JSON.stringify({ ...old, netns, link, granted, terms }));
    await using daemon = await lab.daemon();
    const prevResult = { cniVersion: "1.1.0", ips: [{ address: "10.9.1.10/16" }] };
    expect((await lab.call("CHECK", { conf: { prevResult } })).stdout).toBe("");
    expect(daemon.log.lines().join()).not.toContain("left alone");
    expect((await lab.call("DEL")).code).toBe(0);
    await server.saw("release");
    expect(existsSync(path)).toBe(false);
  });

  hostTest("of Docker's networks, endpoints and addresses is served and removed", async () => {
    await using lab = await dockerLab();
    await using netns = await testNetns();
    for (const [path, text] of filesOf("docker.txt")) {
      mkdirSync(dirname(join(lab.dir, "state", path)), { recursive: true, mode: 0o700 });
      writeFileSync(join(lab.dir, "state", path), text);
    }
    await using plugin = await lab.plugin();
    const poolId = "heddle-local/10.77.0.0/24";
    const given = await lab.call("IpamDriver.RequestAddress", { PoolID: poolId, Address: "", Options: {} });
    expect(given["Address"]).toBe("10.77.0.3/24");
    const another = await connect(lab, netns, "b1", "10.77.0.3/24");
    const wanted = { ...endpointKey("b1"), Options: { [PORTMAP]: [binding(8080)] } };
    expect(await lab.ask("NetworkDriver.ProgramExternalConnectivity", wanted)).toEqual({
      Err: expect.stringContaining("8080/tcp") as string,
    });
    await disconnect(lab, netns, another);
    for (const call of ["RevokeExternalConnectivity", "Leave", "DeleteEndpoint"])
      await lab.call(`NetworkDriver.${call}`, endpointKey("a1"));
    await removeNetwork(lab);
    for (const Address of ["10.77.0.1", "10.77.0.2", "10.77.0.3"])
      await lab.call("IpamDriver.ReleaseAddress", { PoolID: poolId, Address });
    await lab.call("IpamDriver.ReleasePool", { PoolID: poolId });
    expect(jsonFiles(join(lab.dir, "state/docker"))).toEqual([]);
    expect(await lab.links()).toEqual(["lo"]);
    await plugin.stop();
    expect(plugin.log.lines().join()).not.toContain("left alone");
  });
});

interface Lease {
  readonly netns: object;
  readonly link: object;
  readonly granted: object;
  readonly terms: { readonly serverMac: string };
}
