/** Podman 4.3 on Heddle by CNI: a network of Podman's own making, and a container from its start to its end. */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { groundTest } from "./ground.ts";
import { IMAGE } from "./image.ts";
import { nothingLeft } from "./left.ts";
import { podmanSite, podmanTree } from "./podman.ts";
import { asked, outside, UPLINK } from "./traffic.ts";

const heddle = heddleOfFile();
const tree = await podmanTree();

describe("Podman 4", () => {
  groundTest(tree)(
    "gives a container the address, the MAC and the host port that it asks for, and takes them back",
    async () => {
      await using site = await podmanSite(tree, heddle);
      const { on, podman } = site;
      await using machine = await outside(on);
      const backend = await podman("info", "--format", "{{.Host.NetworkBackend}}");
      expect(backend.stdout.trim()).toBe("cni");
      await podman("network", "create", "--subnet", "10.99.0.0/24", "web");
      const words = ["--ip", "10.99.0.7", "--mac-address", "02:11:22:33:44:55", "--publish", "8080:80"];
      await podman("run", "--detach", "--name", "a", "--network", "web", ...words, IMAGE);
      const { stdout } = await podman("exec", "a", "ip", "addr", "show", "eth0");
      expect(stdout).toContain("link/ether 02:11:22:33:44:55 ");
      expect(stdout).toContain("inet 10.99.0.7/24 ");
      expect(await asked(machine.path, "10.99.0.7", 80)).toBe(UPLINK.outside);
      expect(await asked(machine.path, UPLINK.ground, 8080)).toBe(UPLINK.outside);
      expect(await asked(on.net, "127.0.0.1", 8080)).toBe("10.99.0.1");
      await podman("rm", "--force", "--time", "0", "a");
      await nothingLeft(on);
      expect((await on.exec(["iptables-save"])).stdout).not.toContain("10.99.0.7");
    },
    patience(60_000),
  );
});
