/**
 * Docker with Heddle as its driver at length: the newest release as well as that of Debian 12, the IPAM driver, networks that
 * come and go under running containers, and both daemons killed at any time.
 */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { type DockerSite, dockerSite, dockerTree, type DockerVersion, dockers } from "./docker.ts";
import { groundTest } from "./ground.ts";
import { IMAGE } from "./image.ts";
import { nothingLeft } from "./left.ts";
import { asked, outside, UPLINK } from "./traffic.ts";

const heddle = heddleOfFile();
const versions = Object.keys(dockers) as DockerVersion[];
const LIMIT_MS = patience(180_000);

/** Starts a container of this name that serves the page. */
const start = (site: DockerSite, name: string, ...options: readonly string[]): Promise<string> =>
  site.docker("run", "-d", "--stop-timeout", "0", "--name", name, ...options, IMAGE);
/** What a container sees at an address: its own as the server sees it. */
const page = (site: DockerSite, from: string, to: string): Promise<string> =>
  site.docker("exec", from, "wget", "-q", "-O", "-", `http://${to}/cgi-bin/who`);
const linksOf = async (site: DockerSite): Promise<string> =>
  (await site.on.exec(["ip", "-br", "link"])).stdout;
const addressIn = (site: DockerSite, network: string, name: string): Promise<string> =>
  site.docker("inspect", "-f", `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`, name);

for (const version of versions) {
  const tree = await dockerTree(version);
  const dockerTest = groundTest(tree);

  describe(`Docker ${version}`, () => {
    dockerTest(
      "has networks, addresses and ports, both daemons restarted and killed, and leaves nothing",
      async () => {
        await using site = await dockerSite(tree, heddle);
        const { on, docker } = site;
        await using machine = await outside(on);
        await docker(
          "network",
          "create",
          "-d",
          "heddle",
          "--ipam-driver",
          "heddle",
          "--subnet",
          "10.77.0.0/24",
          "web",
        );
        await start(site, "one", "--network", "web", "-p", "8080:80", "--restart", "always");
        await start(
          site,
          "two",
          "--network",
          "web",
          "--ip",
          "10.77.0.77",
          "--mac-address",
          "02:00:00:00:00:77",
        );
        expect(await addressIn(site, "web", "two")).toBe("10.77.0.77");
        expect(await docker("exec", "two", "ip", "link", "show", "eth0")).toContain("02:00:00:00:00:77");
        expect(await page(site, "two", "one")).toContain("10.77.0.77");
        const served = () => asked(machine.path, UPLINK.ground, 8080);
        expect(await served()).toBe(UPLINK.outside);
        for (const [what, signal] of [
          ["plugin", "SIGTERM"],
          ["docker", "SIGTERM"],
          ["plugin", "SIGKILL"],
          ["docker", "SIGKILL"],
        ] as const) {
          await site.restart(what, signal);
          expect([what, signal, await served()]).toEqual([what, signal, UPLINK.outside]);
        }
        await docker("start", "two");
        expect(await page(site, "one", "10.77.0.77")).toContain("10.77.0.");
        await docker("rm", "-f", "one", "two");
        expect(await served()).toBeUndefined();
        await docker("network", "rm", "web");
        expect(await linksOf(site)).not.toContain("br-");
        await nothingLeft(on);
      },
      LIMIT_MS,
    );

    dockerTest(
      "connects a running container to a second network and disconnects it",
      async () => {
        await using site = await dockerSite(tree, heddle);
        const { docker } = site;
        await docker("network", "create", "-d", "heddle", "--ipam-driver", "heddle", "front");
        await docker("network", "create", "-d", "heddle", "--ipam-driver", "heddle", "--internal", "back");
        await start(site, "web", "--network", "front");
        await start(site, "db", "--network", "back");
        const db = await addressIn(site, "back", "db");
        expect(db).toMatch(/^10\.213\.1\./);
        await site.refused("exec", "web", "nc", "-w", "1", db, "80");
        await docker("network", "connect", "back", "web");
        expect(await page(site, "web", "db")).toContain("10.213.1.");
        expect(await docker("exec", "web", "ip", "route")).toContain("default via 10.213.0.1");
        await docker("network", "disconnect", "back", "web");
        expect(await docker("exec", "web", "ip", "link")).not.toContain("eth1");
        expect(await site.refused("network", "rm", "back")).toContain("active endpoints");
        await docker("rm", "-f", "web", "db");
        await docker("network", "rm", "front", "back");
        await nothingLeft(site.on);
      },
      LIMIT_MS,
    );

    dockerTest(
      "has containers of both families, and on a link of the host",
      async () => {
        await using site = await dockerSite(tree, heddle);
        const { docker, on } = site;
        await using machine = await outside(on);
        await docker(
          "network",
          "create",
          "-d",
          "heddle",
          "--ipv6",
          "--subnet",
          "10.77.0.0/24",
          "--subnet",
          "fd77::/64",
          "dual",
        );
        await start(site, "one", "--network", "dual");
        await start(site, "two", "--network", "dual");
        expect(await docker("exec", "one", "ip", "-6", "route")).toContain("default via fd77::1");
        expect(await docker("exec", "one", "ping", "-6", "-c", "1", "fd77::3")).toContain(" 0% packet loss");
        expect(await asked(on.net, "fd77::3", 80)).toBe("fd77::1");
        const lan = [
          "-o",
          "mode=macvlan",
          "-o",
          "parent=up0",
          "--subnet",
          "192.0.2.0/24",
          "--gateway",
          "192.0.2.2",
        ];
        await docker("network", "create", "-d", "heddle", ...lan, "lan");
        await start(site, "three", "--network", "lan", "--ip", "192.0.2.33");
        expect(await asked(machine.path, "192.0.2.33", 80)).toBe(UPLINK.outside);
        await docker("restart", "-t", "0", "three");
        expect(await asked(machine.path, "192.0.2.33", 80)).toBe(UPLINK.outside);
        await docker("rm", "-f", "one", "two", "three");
        await docker("network", "rm", "dual", "lan");
        await nothingLeft(on);
      },
      LIMIT_MS,
    );

    dockerTest(
      "opens ports of every kind",
      async () => {
        await using site = await dockerSite(tree, heddle);
        const { docker, on } = site;
        await using machine = await outside(on);
        const pinned = ["-o", `com.docker.network.bridge.host_binding_ipv4=${UPLINK.ground}`];
        await docker("network", "create", "-d", "heddle", "--subnet", "10.77.0.0/24", "web");
        await docker("network", "create", "-d", "heddle", "--subnet", "10.78.0.0/24", ...pinned, "pinned");
        const from = (port: number, address: string = UPLINK.ground) => asked(machine.path, address, port);
        const local = (port: number) => asked(on.net, "127.0.0.1", port);
        await start(site, "one", "--network", "web", "-p", "127.0.0.1:8081:80", "-p", "8090-8099:80");
        expect([await local(8081), await from(8081)]).toEqual(["10.77.0.1", undefined]);
        expect(await from(8090)).toBe(UPLINK.outside);
        await start(site, "two", "--network", "web", "-p", "8090-8099:80");
        expect(await from(8091)).toBe(UPLINK.outside);
        await start(site, "three", "--network", "web", "-p", "80");
        const chosen = site.log("plugin").findLast((line) => line.includes(" of the host leads to port 80"));
        expect(await from(Number(/port (\d+)\/tcp/.exec(chosen ?? "")?.[1]))).toBe(UPLINK.outside);
        await start(site, "four", "--network", "pinned", "-p", "8082:80", "-p", "5353:5353/udp");
        expect(await from(8082)).toBe(UPLINK.outside);
        expect((await on.exec(["nft", "list", "map", "inet", "heddle", "hostip_ports4"])).stdout).toMatch(
          /192\.0\.2\.1 \. udp \. 5353 .* 10\.78\.0\.2 \. 5353/,
        );
        // A name for a container of one network does not open the way from another one.
        await site.refused("exec", "four", "nc", "-w", "1", "10.77.0.2", "80");
        await docker("rm", "-f", "one", "two", "three", "four");
        await docker("network", "rm", "web", "pinned");
        await nothingLeft(on);
      },
      LIMIT_MS,
    );

    dockerTest(
      "goes on with containers that live while Docker is away",
      async () => {
        await using site = await dockerSite(tree, heddle, "--live-restore");
        const { docker, on } = site;
        await docker("network", "create", "-d", "heddle", "--ipam-driver", "heddle", "web");
        await start(site, "one", "--network", "web", "-p", "8080:80");
        const served = () => asked(on.net, "127.0.0.1", 8080);
        await site.stop("docker", "SIGKILL");
        await site.restart("plugin", "SIGKILL");
        expect(await served()).toBe("10.213.0.1");
        await site.start("docker");
        expect(await docker("inspect", "-f", "{{.State.Running}}", "one")).toBe("true");
        await start(site, "two", "--network", "web");
        expect(await page(site, "two", "one")).toContain("10.213.0.3");
        await docker("rm", "-f", "one", "two");
        expect(await served()).toBeUndefined();
        await docker("network", "rm", "web");
        expect(await linksOf(site)).not.toContain("br-");
        await nothingLeft(on);
      },
      LIMIT_MS,
    );

    dockerTest(
      "says what to do about what cannot be",
      async () => {
        await using site = await dockerSite(tree, heddle);
        const { docker, refused } = site;
        const create = (...words: readonly string[]) =>
          refused("network", "create", "-d", "heddle", ...words, "bad");
        expect(await create("-o", "mode=overlay")).toContain(
          '"overlay" is not one of bridge, macvlan, ipvlan, vlan',
        );
        expect(await create("-o", "colour=red")).toContain(
          "is no option of mode bridge; those are mode, routes",
        );
        expect(await create("-o", "mode=macvlan", "-o", "parent=eth9")).toContain(
          "there is no interface eth9",
        );
        expect(await docker("network", "ls", "-q", "--filter", "driver=heddle")).toBe("");
        await docker("network", "create", "-d", "heddle", "web");
        await start(site, "one", "--network", "web", "-p", "8080:80");
        const second = ["run", "-d", "--network", "web", "-p", "8080:80", IMAGE];
        expect(await refused(...second)).toMatch(/8080\/tcp is taken by .*choose another host port/);
        await docker("rm", "-f", "one");
        await start(site, "three", "--network", "web", "-p", "8080:80");
      },
      LIMIT_MS,
    );
  });
}
