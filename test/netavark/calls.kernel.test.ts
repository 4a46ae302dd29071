/** Podman's containers on networks of Heddle's, by netavark's calls, through what can go wrong between them. */
import { describe, expect } from "bun:test";
import { rmSync } from "node:fs";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { testNetns } from "../../src/testing/netns.ts";
import { connectFrom, serveIn } from "../../src/testing/traffic.ts";
import { pairEnds, untilOnly } from "../../src/testing/dying.ts";
import { connection, NETWORK, netavarkLab, network } from "./lab.ts";

const heddle = heddleOfFile();
const hostTest = testWith({ root: true, programs: ["ip", "nft", "nsenter", "unshare"] });
const ports = (hostPort: number) => ({ port_mappings: [{ host_port: hostPort, container_port: 80 }] });

/** All but what containers share: chains and sets without elements of theirs, sysctls. */
const owned = (snapshot: readonly string[]): readonly string[] =>
  snapshot.filter((line) => /^file |: link |: address |: route |comment "heddle-/.test(line));

describe("a network of mode bridge", () => {
  hostTest(
    "comes with its first container and goes with its last, and each teardown may be repeated",
    async () => {
      await using lab = await netavarkLab(heddle);
      await using one = await testNetns();
      await using two = await testNetns();
      const before = await lab.host.snapshot();
      const [a, b] = [connection("a1", "10.77.0.2", network(), ports(8080)), connection("b1", "10.77.0.3")];
      expect(await lab.call(["setup", one.path], a)).toMatchObject({
        interfaces: { eth0: { subnets: [{ ipnet: "10.77.0.2/24", gateway: "10.77.0.1" }] } },
      });
      await lab.call(["setup", two.path], b);
      await using _server = await serveIn(one.path, "0.0.0.0", 80);
      expect((await connectFrom(two.path, "10.77.0.2", 80)).stdout.trim()).toBe("10.77.0.3");
      expect((await connectFrom(`/proc/${lab.host.pid}/ns/net`, "127.0.0.1", 8080)).code).toBe(0);
      expect(await lab.ask(["setup", one.path], a)).toEqual({
        code: 1,
        json: { error: expect.stringContaining("already attached") },
      });
      await lab.call(["teardown", one.path], a);
      await lab.call(["teardown", one.path], a);
      expect(await lab.links()).toContain("web0");
      await lab.call(["teardown", two.path], b);
      await lab.call(["teardown", two.path], b);
      expect(owned(await lab.host.snapshot())).toEqual(owned(before));
    },
  );

  hostTest(
    "is cleared without the namespace, without the cache, with a network that changed or is broken",
    async () => {
      await using lab = await netavarkLab(heddle);
      const gone = "/run/netns/gone";
      const before = owned(await lab.host.snapshot());
      const changes: readonly [string, object, boolean][] = [
        ["another bridge", network({}, { network_interface: "web1" }), false],
        ["another mode, no cache", network({ mode: "macvlan" }, { network_interface: "lo" }), true],
        ["an option that there is not, no cache", network({ gone: "1" }), true],
        ["another subnet, no cache", network({}, { subnets: [{ subnet: "10.78.0.0/24" }] }), true],
      ];
      for (const [what, changed, forget] of changes) {
        {
          await using one = await testNetns();
          await lab.call(["setup", one.path], connection("a1", "10.77.0.2", network(), ports(8080)));
        }
        if (forget) await lab.host.exec(["rm", "-r", "/var/lib/cni"]);
        await lab.call(["teardown", gone], connection("a1", "10.77.0.2", changed));
        expect({ what, left: owned(await lab.host.snapshot()) }).toEqual({ what, left: before });
      }
    },
  );

  hostTest("stays for a container and for a port of somebody else's", async () => {
    await using lab = await netavarkLab(heddle);
    await using one = await testNetns();
    const a = connection("a1", "10.77.0.2");
    await lab.call(["setup", one.path], a);
    await lab.host.exec(["ip", "link", "add", "foreign0", "type", "veth", "peer", "name", "foreign1"]);
    await lab.host.exec(["ip", "link", "set", "foreign0", "master", "web0"]);
    await lab.call(["teardown", one.path], a);
    expect(await lab.links()).toEqual(["foreign0", "foreign1", "lo", "web0"]);
    await lab.host.exec(["ip", "link", "del", "foreign0"]);
    await lab.call(["teardown", one.path], a);
    expect(await lab.links()).toEqual(["lo"]);
  });

  hostTest("leaves a bridge that was there as it was, and refuses one with another address", async () => {
    await using lab = await netavarkLab(heddle);
    await using one = await testNetns();
    await lab.host.exec(["ip", "link", "add", "web0", "type", "bridge"]);
    const a = connection("a1", "10.77.0.2");
    const addresses = async () =>
      (await lab.host.exec(["ip", "-br", "-4", "addr", "show", "web0"])).stdout.split(/\s+/).slice(2);
    await lab.call(["setup", one.path], a);
    expect(await addresses()).toContain("10.77.0.1/24");
    await lab.call(["teardown", one.path], a);
    expect((await addresses()).join("")).toBe("");
    await lab.host.exec(["ip", "addr", "add", "192.0.2.9/24", "dev", "web0"]);
    expect(await lab.ask(["setup", one.path], a)).toEqual({
      code: 1,
      json: { error: expect.stringContaining("web0 already has an address different from 10.77.0.1/24") },
    });
    expect((await addresses()).join("")).toBe("192.0.2.9/24");
  });

  hostTest("gives nobody a way out of an internal one", async () => {
    await using lab = await netavarkLab(heddle);
    await using one = await testNetns();
    await using two = await testNetns();
    const inner = network({}, { internal: true, subnets: [{ subnet: "10.77.0.0/24" }] });
    const status = await lab.call(["setup", one.path], connection("a1", "10.77.0.2", inner, ports(8080)));
    expect(status).toMatchObject({ interfaces: { eth0: { subnets: [{ ipnet: "10.77.0.2/24" }] } } });
    await lab.call(["setup", two.path], connection("b1", "10.77.0.3", inner));
    expect((await one.exec(["ip", "route", "show", "default"])).stdout).toBe("");
    await using _server = await serveIn(one.path, "0.0.0.0", 80);
    expect((await connectFrom(two.path, "10.77.0.2", 80)).stdout.trim()).toBe("10.77.0.3");
  });

  hostTest("takes everything back if a container cannot be attached, the bridge included", async () => {
    await using lab = await netavarkLab(heddle);
    await using one = await testNetns();
    await using two = await testNetns();
    const other = network(
      {},
      { name: "two", network_interface: "two0", subnets: [{ subnet: "10.78.0.0/24" }] },
    );
    await lab.call(["setup", one.path], connection("a1", "10.77.0.2", network(), ports(8080)));
    const refused = await lab.ask(["setup", two.path], connection("b1", "10.78.0.2", other, ports(8080)));
    expect(refused).toEqual({
      code: 1,
      json: { error: expect.stringMatching(/8080\/tcp is taken by container a1/) },
    });
    expect(await lab.links()).toEqual(["lo", expect.stringMatching(/^veth/), "web0"]);
    const elsewhere = connection("b1", "10.99.0.2", other);
    expect(await lab.ask(["setup", two.path], elsewhere)).toEqual({
      code: 1,
      json: { error: expect.stringContaining("10.99.0.2 is in no subnet of two") },
    });
  });
});

describe("heddle gc", () => {
  hostTest("removes what a network has in the host when its containers went without a teardown", async () => {
    await using lab = await netavarkLab(heddle);
    await using alive = await testNetns();
    const other = network(
      {},
      { name: "two", network_interface: "two0", subnets: [{ subnet: "10.78.0.0/24" }] },
    );
    await lab.call(["setup", alive.path], connection("b1", "10.78.0.2", other));
    const known = await pairEnds(lab.host);
    {
      await using dying = await testNetns();
      await lab.call(["setup", dying.path], connection("a1", "10.77.0.2"));
    }
    await untilOnly(lab.host, known);
    const preview = JSON.parse((await lab.host.cli(["gc", "--dry-run", "--json"], {})).stdout) as unknown;
    expect(preview).toMatchObject([
      { network: NETWORK, containerId: "a1", by: "cache" },
      {
        network: NETWORK,
        containerId: "",
        why: "no container is left on it",
        removes: ["link web0", "record of netavark-network"],
      },
    ]);
    const { stdout } = await lab.host.cli(["gc"], { CNI_PATH: "/nowhere" });
    expect(stdout).toContain(`what Podman's network ${NETWORK} has in the host`);
    expect(await lab.links()).toEqual(["lo", "two0", expect.stringMatching(/^veth/)]);
    expect((await lab.host.cli(["gc"], {})).stdout).toBe("Nothing to clean up.\n");
  });

  hostTest(
    "leaves no bridge closed that an internal network had, also where every record is lost",
    async () => {
      await using lab = await netavarkLab(heddle);
      const inner = network({}, { internal: true });
      const closed = async (): Promise<boolean> =>
        /closed_links \{[^}]*elements = \{ "web0" /.test(
          (await lab.host.exec(["nft", "list", "ruleset"])).stdout,
        );
      const known = await pairEnds(lab.host);
      {
        await using dying = await testNetns();
        await lab.call(["setup", dying.path], connection("a1", "10.77.0.2", inner));
        expect(await closed()).toBe(true);
      }
      await untilOnly(lab.host, known);
      rmSync(`${lab.host.dir}/run/attachments`, { recursive: true });
      await lab.host.exec(["rm", "-r", "/var/lib/cni"]);
      expect((await lab.host.cli(["gc"], {})).stdout).toContain("has lost its record");
      expect(await lab.links()).not.toContain("web0");
      expect(await closed()).toBe(false);
    },
  );
});
