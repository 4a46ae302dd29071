import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { activeFeatures } from "../../src/genl/ethtool.ts";
import { openNetlink } from "../../src/netlink/socket.ts";
import { inNetns, openNetns } from "../../src/sys/netns.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { type TestLab, testLab } from "../../src/testing/lab.ts";
import { kernelTest } from "../../src/testing/needs.ts";
import { run } from "../../src/testing/run.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";
import { parseXml } from "../../src/testing/xml.ts";

const heddle = heddleOfFile();

const mtuOf = async (lab: TestLab, place: string, link: string): Promise<number> => {
  const { stdout } = await lab.exec(place, ["ip", "-j", "link", "show", link]);
  return (JSON.parse(stdout) as readonly { readonly mtu: number }[])[0]?.mtu ?? 0;
};

describe("heddle lab up", () => {
  kernelTest(
    "three hosts with a container each are there, reach each other, and go without a trace",
    async () => {
      const began = performance.now();
      const lab = await testLab(heddle, "--hosts", "3");
      {
        await using _ = lab;
        const { code, all, failed } = await lab.ping();
        expect({ code, failed }).toEqual({ code: 0, failed: [] });
        // Three hosts with each other, each with its container, both ways, and all with what is outside.
        expect(all).toHaveLength(6 + 6 + 6);
        expect(performance.now() - began).toBeLessThan(15_000);
        const matrix = await lab.command(["ping"]);
        expect(matrix.stdout).toContain("18 of 18 reached");
        const { stdout } = await lab.command(["status"]);
        expect(stdout).toContain(`lab ${lab.name}: 3 hosts, flat underlay, IPv4, MTU 1500, no provider`);
        expect(stdout).toContain("■ c1");
      }
      expect(existsSync(lab.paths.dir)).toBe(false);
      expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(lab.name);
    },
  );

  kernelTest("a routed underlay of both families has its MTU, its sysctls and an outside", async () => {
    await using lab = await testLab(
      heddle,
      ...["--hosts", "3", "--underlay", "routed", "--ip", "dual", "--mtu", "1450", "--offload", "off"],
    );
    const { hosts } = await lab.status();
    expect(hosts.map((h) => h.bridge)).toEqual(["lan1", "lan1", "lan2"]);
    expect(hosts[2]?.uplink.addresses).toEqual(["192.168.2.13/24", "fd00:0:0:2::13/64"]);
    const { failed, all } = await lab.ping();
    expect(failed).toEqual([]);
    expect(all).toHaveLength(36);
    expect(await mtuOf(lab, "host3", "eth0")).toBe(1450);
    expect(await mtuOf(lab, "router", "lan2")).toBe(1450);
    using netns = openNetns(lab.paths.host("host1").net);
    using socket = inNetns(netns, () => openNetlink("generic"));
    const active = activeFeatures(socket, "eth0");
    expect(active.filter((name) => /segmentation$|gro/.test(name))).toEqual([]);
    expect(active).toContain("highdma");
  });

  kernelTest("what is there already is told, whole or half made, and stays", async () => {
    await using lab = await testLab(heddle, "--hosts", "1", "--containers", "0");
    const again = await lab.command(["up"], { mustSucceed: false });
    expect(again.code).toBe(1);
    expect(again.stderr).toContain(`heddle lab down --name ${lab.name} removes it`);
    writeFileSync(
      lab.paths.state,
      readFileSync(lab.paths.state, "utf8").replace('"complete": true', '"complete": false'),
    );
    for (const words of [["up"], ["status"], ["ping"]]) {
      const refused = await lab.command(words, { mustSucceed: false });
      expect(refused.code).not.toBe(0);
      expect(refused.stderr).toContain(`heddle lab down --name ${lab.name} removes it`);
    }
  });

  kernelTest("labs of different names do not meet", async () => {
    await using one = await testLab(heddle, "--hosts", "2", "--containers", "0");
    await using other = await testLab(heddle, "--hosts", "2", "--containers", "0");
    await one.command(["fault", "cut", "host1"]);
    expect((await one.ping()).code).toBe(1);
    expect((await other.ping()).code).toBe(0);
    const { stdout } = await run([heddle.path, "lab", "list"]);
    const offered = async (kind: string) =>
      (await run([heddle.path, "completion", "--values", kind])).stdout.split("\n");
    expect(await offered("lab")).toContain(`${one.name}\tlab`);
    expect(await offered("host")).toContain(`host2\thost of the lab ${other.name}`);
    expect(stdout).toContain(`lab ${one.name}: 2 hosts`);
    expect(stdout).toContain(`lab ${other.name}: 2 hosts`);
    const listed = JSON.parse((await run([heddle.path, "lab", "list", "--json"])).stdout) as unknown;
    expect(listed).toContainEqual(
      expect.objectContaining({
        name: one.name,
        complete: true,
        spec: expect.objectContaining({ hosts: 2 }),
      }),
    );
  });
});

describe("a host", () => {
  kernelTest("has state, name, network devices and namespaces of its own", async () => {
    await using lab = await testLab(heddle, "--hosts", "2", "--containers", "0");
    expect((await lab.exec("host1", ["hostname"])).stdout).toBe("host1\n");
    for (const file of [
      "/run/heddle/x",
      "/var/lib/heddle/x",
      "/run/flannel/x",
      "/var/lib/cni/x",
      "/etc/cni/net.d/x",
    ]) {
      const name = file.replace("/x", `/${lab.name}`);
      await lab.exec("host1", ["touch", name]);
      expect(existsSync(name)).toBe(false);
      expect(existsSync(lab.paths.host("host1").file(name))).toBe(true);
      expect((await lab.exec("host2", ["test", "-e", name], { mustSucceed: false })).code).toBe(1);
      expect((await lab.exec("host1", ["test", "-e", name])).code).toBe(0);
    }
    expect((await lab.exec("host1", ["ls", "/sys/class/net"])).stdout.split("\n")).toContain("eth0");
    await lab.exec("host1", ["ip", "netns", "add", "blue"]);
    expect((await lab.exec("host1", ["ip", "netns", "list"])).stdout).toBe("blue\n");
    expect((await lab.exec("host2", ["ip", "netns", "list"])).stdout).toBe("");
    expect(readdirSync(lab.paths.host("host1").netns)).toEqual(["blue"]);
    expect(existsSync("/run/netns/blue")).toBe(false);
    await lab.exec("host1", ["ip", "netns", "delete", "blue"]);
    expect(readdirSync(lab.paths.host("host1").netns)).toEqual([]);
    await lab.exec("host1", ["touch", `${lab.paths.shared}/both`]);
    await lab.exec("host2", ["test", "-e", `${lab.paths.shared}/both`]);
  });

  kernelTest("finds heddle and every plugin without being told", async () => {
    await using lab = await testLab(heddle, "--hosts", "1", "--containers", "0");
    expect((await lab.exec("host1", ["heddle", "--version"])).stdout).toStartWith("heddle ");
    expect((await lab.exec("host1", ["sh", "-c", 'ls "$CNI_PATH"'])).stdout.split("\n")).toContain("bridge");
  });

  kernelTest("is not entered by who is in it", async () => {
    await using lab = await testLab(heddle, "--hosts", "1", "--containers", "0");
    const inside = await lab.exec("host1", ["heddle", "lab", "down", "--name", lab.name], {
      mustSucceed: false,
    });
    expect(inside.code).toBe(2);
    expect(inside.stderr).toContain("this is host1 of the lab");
  });
});

describe("heddle lab exec", () => {
  kernelTest(
    "is the program itself: number, input, outputs, exit code, signals, directory, words",
    async () => {
      await using lab = await testLab(heddle, "--hosts", "1", "--containers", "0");
      const argv = (...words: readonly string[]) => [
        heddle.path,
        "lab",
        "exec",
        "--name",
        lab.name,
        "host1",
        "--",
        ...words,
      ];
      const outcome = await run(
        argv("sh", "-c", 'cat; echo to stderr >&2; pwd; echo "$1"; exit 7', "sh", "a  b"),
        {
          stdin: "to stdin\n",
          cwd: "/usr",
          mustSucceed: false,
        },
      );
      expect(outcome).toEqual({ code: 7, stdout: "to stdin\n/usr\na  b\n", stderr: "to stderr\n" });
      const sleeper = Bun.spawn(argv("sleep", "1000"), {
        stdin: "ignore",
        stdout: "ignore",
        stderr: "inherit",
      });
      while (readFileSync(`/proc/${sleeper.pid}/comm`, "utf8") !== "sleep\n") await Bun.sleep(5);
      // No thread of the engine, no signal that is ignored, and no descriptor is left.
      const status = readFileSync(`/proc/${sleeper.pid}/status`, "utf8");
      expect(status).toMatch(/^Threads:\t1$/m);
      expect(status).toMatch(/^SigIgn:\t0+$/m);
      expect(status).toMatch(/^SigBlk:\t0+$/m);
      expect(readdirSync(`/proc/${sleeper.pid}/fd`).toSorted()).toEqual(["0", "1", "2"]);
      sleeper.kill("SIGTERM");
      await sleeper.exited;
      expect(sleeper.signalCode).toBe("SIGTERM");
    },
  );

  kernelTest("keeps the terminal", async () => {
    await using lab = await testLab(heddle, "--hosts", "1", "--containers", "0");
    const words = `${heddle.path} lab exec --name ${lab.name} host1 -- tty`;
    const { stdout } = await run(["script", "-qec", words, "/dev/null"]);
    expect(stdout).toStartWith("/dev/pts/");
  });

  kernelTest("of what is not there ends as a shell would", async () => {
    await using lab = await testLab(heddle, "--hosts", "1", "--containers", "0");
    const missing = await lab.exec("host1", ["no-such-program"], { mustSucceed: false });
    expect(missing).toMatchObject({ code: 127, stdout: "" });
    expect(missing.stderr).toContain("no-such-program: is not in PATH");
    for (const place of ["host2", "host1/web"]) {
      const nowhere = await lab.exec(place, ["true"], { mustSucceed: false });
      expect(nowhere.code).toBe(2);
    }
  });
});

describe("containers", () => {
  kernelTest(
    "are attached by the host's own configuration, and detached with what runs in them",
    async () => {
      await using lab = await testLab(heddle, "--hosts", "2", "--ip", "dual", "--containers", "0");
      const { stdout } = await lab.command(["attach", "host1", "web"]);
      expect(stdout).toBe("10.244.1.2/24\nfd00:244:0:1::2/64\n");
      const attached = await lab.command(["attach", "--json", "host1", "db"]);
      expect(JSON.parse(attached.stdout)).toEqual({ addresses: ["10.244.1.3/24", "fd00:244:0:1::3/64"] });
      expect((await lab.ping()).failed).toEqual([]);
      const twice = await lab.command(["attach", "host1", "web"], { mustSucceed: false });
      expect(twice.stderr).toContain('host1 has a container "web" already');
      // Containers get outside, masqueraded by the host.
      expect((await lab.ping()).all.filter((p) => p.to === "outside")).toHaveLength(2 * 4);
      expect((await lab.exec("host1", ["heddle", "ps", "--json"])).stdout).toContain('"ok"');
      const child = Bun.spawn([
        heddle.path,
        "lab",
        "exec",
        "-n",
        lab.name,
        "host1/web",
        "--",
        "sleep",
        "1000",
      ]);
      while (readFileSync(`/proc/${child.pid}/comm`, "utf8") !== "sleep\n") await Bun.sleep(5);
      await lab.command(["detach", "host1", "web"]);
      await child.exited;
      expect(child.signalCode).toBe("SIGKILL");
      expect((await lab.status()).hosts[0]?.containers.map((c) => c.name)).toEqual(["db"]);
      expect(readdirSync(lab.paths.host("host1").netns)).toEqual(["db"]);
      expect((await lab.exec("host1", ["heddle", "ps", "--json"])).stdout.split('"ok"')).toHaveLength(2);
      const gone = await lab.command(["detach", "host1", "web"], { mustSucceed: false });
      expect(gone.code).toBe(2);
    },
  );

  kernelTest("whose attachment fails are taken back", async () => {
    await using lab = await testLab(heddle, "--hosts", "1", "--containers", "0");
    const failed = await lab.command(["attach", "host1", "web", "--network", "none-such"], {
      mustSucceed: false,
    });
    expect(failed.code).toBe(1);
    expect(failed.stderr).toContain("none-such");
    expect((await lab.status()).hosts[0]?.containers.map((c) => c.name)).not.toContain("c1");
  });
});

test("heddle lab refuses what it cannot make", async () => {
  const refused = async (...words: readonly string[]) =>
    (await run([heddle.path, "lab", ...words], { mustSucceed: false })).stderr;
  expect(await refused("up", "--hosts", "0")).toContain('--hosts: "0" is not a number of 1 to 200');
  expect(await refused("up", "--mtu", "68")).toContain("1280 to 9000");
  expect(await refused("up", "--name", "../x")).toContain("is no name");
  expect(await refused("up", "--underlay", "round")).toContain("flat, routed");
  expect(await refused("up", "--backend", "vxlan")).toContain("add --provider flannel");
  expect(await refused("up", "--provider", "flannel", "--backend", "nope")).toContain(
    '"nope" is none of this',
  );
  expect(await refused("status", "--name", "none-such")).toContain('there is no lab "none-such"');
  expect(await refused("down", "--name", "none-such")).toContain('there is no lab "none-such"');
});

kernelTest("a picture is written as SVG", async () => {
  await using lab = await testLab(heddle, "--hosts", "1", "--containers", "0");
  using dir = tempDir();
  await lab.command(["status", "--svg", dir.in("lab.svg")]);
  const { name, children } = parseXml(readFileSync(dir.in("lab.svg"), "utf8"));
  expect(name).toBe("svg");
  expect(children.map(({ text }) => text.trim())).toContain("192.168.1.11/24");
});
