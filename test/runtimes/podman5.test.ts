/**
 * Podman 5 on Heddle, a plugin of netavark: a network and a container with a host port as `docs/runtimes.md` makes them, a second
 * container beside it, from their start to their end. What takes longer is in `podman5.long.test.ts`.
 */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { groundTest } from "./ground.ts";
import { IMAGE } from "./image.ts";
import { nothingLeft } from "./left.ts";
import { podmanSite, podmanTree } from "./podman.ts";
import { asked, outside, UPLINK } from "./traffic.ts";

const heddle = heddleOfFile();
const tree = await podmanTree("5");

describe("Podman 5", () => {
  groundTest(tree)(
    "gives containers a network of Heddle's with what they ask for, and takes all of it back",
    async () => {
      await using site = await podmanSite(tree, heddle, "5");
      const { on, podman } = site;
      await using machine = await outside(on);
      const words = ["--ip", "10.77.0.7", "--mac-address", "02:11:22:33:44:55"];
      await podman("run", "--detach", "--name", "two", "--network", "web", ...words, IMAGE);
      const { stdout } = await podman("exec", "two", "ip", "addr", "show", "eth0");
      expect(stdout).toContain("link/ether 02:11:22:33:44:55 ");
      expect(stdout).toContain("inet 10.77.0.7/24 ");
      const inspected = await podman(
        "inspect",
        "two",
        "--format",
        "{{.NetworkSettings.Networks.web.MacAddress}}",
      );
      expect(inspected.stdout.trim()).toBe("02:11:22:33:44:55");
      expect(await asked(machine.path, "10.77.0.7", 80)).toBe(UPLINK.outside);
      const page = "http://10.77.0.7/cgi-bin/who";
      expect((await podman("exec", "one", "wget", "-q", "-O", "-", page)).stdout).toContain("10.77.0.2");
      expect(await asked(machine.path, UPLINK.ground, 8080)).toBe(UPLINK.outside);
      expect(await asked(on.net, "127.0.0.1", 8080)).toBe("10.77.0.1");
      const listed = await on.exec(["heddle", "ps", "--json"]);
      expect(JSON.parse(listed.stdout)).toMatchObject([{ network: "web" }, { network: "web" }]);
      await podman("rm", "--force", "--time", "0", "one", "two");
      await podman("network", "rm", "web");
      await nothingLeft(on);
      expect(await on.snapshot()).not.toContainEqual(expect.stringMatching(/: link br-|10\.77\.0/));
    },
    patience(60_000),
  );
});
