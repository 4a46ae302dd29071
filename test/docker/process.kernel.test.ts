/** The plugin as a process: its socket, who may speak, how it is started and ended, and what a kill leaves. */
import { describe, expect } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import {
  binding,
  connect,
  createNetwork,
  disconnect,
  dockerLab,
  type DockerLab,
  endpointKey,
  NETWORK_ID,
  PORTMAP,
  publish,
  removeNetwork,
} from "../../src/testing/docker-lab.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTest, testWith } from "../../src/testing/needs.ts";
import { testNetns } from "../../src/testing/netns.ts";
import { plainEnv, run } from "../../src/testing/run.ts";
import { inside } from "../../src/testing/traffic.ts";
import { listenUnix } from "../../src/sys/unix-listener.ts";

const heddle = heddleOfFile();

/** Everything of the host that calls change. */
const traces = async (lab: DockerLab): Promise<readonly string[]> => [
  ...(await lab.links()),
  ...(await lab.rules()).split("\n").filter((line) => line.includes("heddle-docker")),
  ...readdirSync(join(lab.dir, "run/attachments")),
];

describe("the socket", () => {
  kernelTest("is root's alone, in a directory of root's, and goes with the plugin", async () => {
    await using lab = await dockerLab();
    {
      await using plugin = await lab.plugin();
      expect(statSync(lab.socket).mode & 0o777).toBe(0o600);
      expect(statSync(join(lab.dir, "plugins")).mode & 0o777).toBe(0o700);
      expect(await plugin.stop("SIGINT")).toBe(0);
    }
    expect(existsSync(lab.socket)).toBe(false);
  });

  testWith({ root: true, programs: ["ip", "setpriv"] })(
    "serves nobody but root and its own user",
    async () => {
      await using lab = await dockerLab();
      await using plugin = await lab.plugin();
      // Whoever may write to it can call; then the kernel is asked who that is.
      await run(["chmod", "0777", lab.socket, join(lab.dir, "plugins"), lab.dir]);
      const ask = `fetch("http://x/Plugin.Activate", { unix: ${JSON.stringify(lab.socket)}, method: "POST" })
      .then((r) => r.text()).then(console.log, () => console.log("refused"));`;
      const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
      const bun = join(lab.dir, "bun");
      await run(["cp", process.execPath, bun]);
      expect((await run([...nobody, bun, "-e", ask], { cwd: "/" })).stdout.trim()).toBe("refused");
      await plugin.said("refused user 65534");
      expect((await run([bun, "-e", ask], { cwd: "/" })).stdout).toContain("NetworkDriver");
    },
  );

  kernelTest("that a dead plugin left is replaced, and that of a living one is not", async () => {
    await using lab = await dockerLab();
    await using first = await lab.plugin();
    await first.stop("SIGKILL");
    expect(existsSync(lab.socket)).toBe(true);
    await using _second = await lab.plugin();
    expect(await lab.call("Plugin.Activate")).toHaveProperty("Implements");
    const env = { ...lab.env, HEDDLE_STATE_DIR: join(lab.dir, "other") };
    const argv = [lab.heddle.at("heddle"), "docker-plugin", "--socket", lab.socket];
    const third = await run(argv, { env, mustSucceed: false });
    expect([third.code, third.stderr]).toEqual([
      1,
      expect.stringContaining("a Docker plugin already exists"),
    ]);
    const fourth = await run([...argv.slice(0, -1), `${lab.socket}2`], { env: lab.env, mustSucceed: false });
    expect([fourth.code, fourth.stderr]).toEqual([
      1,
      expect.stringContaining("another Docker plugin already exists"),
    ]);
  });

  kernelTest("that systemd listens on is taken over", async () => {
    await using lab = await dockerLab();
    await run(["mkdir", "-p", join(lab.dir, "plugins")]);
    using listener = listenUnix(lab.socket);
    const words = `exec env LISTEN_FDS=1 LISTEN_PID=$$ "$@"`;
    const child = Bun.spawn(
      ["sh", "-c", words, "sh", lab.heddle.at("heddle"), "docker-plugin", "--socket", lab.socket],
      { env: { ...lab.env }, stdio: ["ignore", "ignore", "ignore", listener.fd] },
    );
    try {
      expect(await lab.call("Plugin.Activate")).toHaveProperty("Implements");
    } finally {
      child.kill("SIGTERM");
      expect(await child.exited).toBe(0);
    }
    expect(existsSync(lab.socket)).toBe(true);
  });

  kernelTest("elsewhere is named to Docker by a file", async () => {
    await using lab = await dockerLab();
    const spec = join(lab.dir, "etc/plugins/heddle.spec");
    await using plugin = await lab.plugin("--spec", spec);
    expect(readFileSync(spec, "utf8")).toBe(`unix://${lab.socket}\n`);
    await plugin.stop();
    expect(existsSync(spec)).toBe(true);
  });

  kernelTest.each([
    ["a relative socket", ["--socket", "heddle.sock"], "--socket must be an absolute path"],
    ["a relative file", ["--spec", "heddle.spec"], "--spec must be an absolute path"],
    ["a file of another kind", ["--spec", "/x/heddle.json"], "must name a file that ends in .spec"],
    ["an unknown option", ["--colour"], "unknown option"],
  ])("is not made with %s", async (_, words, why) => {
    const { code, stderr } = await run([heddle.at("heddle"), "docker-plugin", ...words], {
      env: plainEnv,
      mustSucceed: false,
    });
    expect([code > 0, stderr]).toEqual([true, expect.stringContaining(why)]);
  });
});

describe("bad requests", () => {
  kernelTest("are answered, and what is too long or too slow is cut off", async () => {
    await using lab = await dockerLab();
    await using _plugin = await lab.plugin();
    const raw = async (text: string): Promise<string> => {
      const { promise, resolve } = Promise.withResolvers<string>();
      let heard = "";
      await Bun.connect({
        unix: lab.socket,
        socket: {
          open: (s) => void s.write(text),
          data: (_, bytes) => void (heard += bytes.toString()),
          close: () => resolve(heard),
        },
      });
      return promise;
    };
    const head = (length: number): string =>
      `POST /NetworkDriver.Join HTTP/1.1\r\nContent-Length: ${length}\r\n\r\n`;
    expect(await raw("hello\r\n\r\n")).toStartWith("HTTP/1.1 400 ");
    expect(await raw(head(2_000_000))).toStartWith("HTTP/1.1 413 ");
    expect(await raw(`${head(1)}{`)).toContain('{"Err":"the request: ');
    expect(await raw("GET /Plugin.Activate HTTP/1.1\r\n\r\n")).toStartWith("HTTP/1.1 405 ");
    expect(await lab.ask("NetworkDriver.CreateNetwork", { NetworkID: "../x" })).toEqual({
      Err: "NetworkID: must be 1 to 128 letters, digits, dots, dashes and underscores",
    });
    // It is none the worse for it.
    expect(await lab.call("Plugin.Activate")).toHaveProperty("Implements");
  });

  kernelTest("leave nothing in the kernel", async () => {
    await using lab = await dockerLab();
    await using plugin = await lab.plugin();
    expect(
      (await lab.ask("NetworkDriver.CreateNetwork", createNetwork({ mode: "macvlan", parent: "no0" })))[
        "Err"
      ],
    ).toContain("there is no interface no0 in the host");
    expect(
      (await lab.ask("NetworkDriver.CreateNetwork", createNetwork({ mode: "macvlan" })))["Err"],
    ).toContain("no default route");
    await lab.host.exec(["ip", "link", "add", "taken0", "type", "veth", "peer", "name", "taken1"]);
    const named = createNetwork({ "com.docker.network.bridge.name": "taken0" });
    expect((await lab.ask("NetworkDriver.CreateNetwork", named))["Err"]).toContain("is not a bridge");
    await plugin.said("NetworkDriver.CreateNetwork failed");
    expect(await traces(lab)).toEqual(["lo", "taken0", "taken1"]);
    expect(await lab.ask("NetworkDriver.DeleteNetwork", { NetworkID: NETWORK_ID })).toEqual({});
  });

  kernelTest("for a port that a program of the host has say so", async () => {
    await using lab = await dockerLab();
    await using one = await testNetns();
    await using _plugin = await lab.plugin();
    const script =
      'Bun.listen({ hostname: "0.0.0.0", port: 8080, socket: { data() {} } }); console.log("ready")';
    await using server = lab.host.start([process.execPath, "-e", script]);
    await server.printed("ready");
    await lab.call("NetworkDriver.CreateNetwork", createNetwork());
    const a = await connect(lab, one, "a1", "10.77.0.2/24");
    const wanted = { ...endpointKey("a1"), Options: { [PORTMAP]: [binding(8080)] } };
    expect(await lab.ask("NetworkDriver.ProgramExternalConnectivity", wanted)).toEqual({
      Err: "host port 8080/tcp is taken by a program of this host; stop it or publish another port",
    });
    await publish(lab, a, binding(8081));
  });
});

kernelTest("a plugin that is told to end answers what it was asked before", async () => {
  await using lab = await dockerLab();
  await using plugin = await lab.plugin();
  const asked = [
    lab.ask("NetworkDriver.CreateNetwork", createNetwork()),
    lab.ask("Plugin.Activate"),
    lab.ask("NetworkDriver.DeleteNetwork", { NetworkID: "ab" }),
  ];
  // The last of them is known to be there when an answer to a later one comes.
  await lab.ask("IpamDriver.GetCapabilities");
  const code = plugin.stop("SIGTERM");
  expect(await Promise.all(asked)).toEqual([{}, expect.anything(), {}]);
  expect(await code).toBe(0);
  expect(await lab.links()).toContain("br-0f0f0f0f0f0f");
});

describe("a kill", () => {
  kernelTest(
    "of the plugin in the middle of calls leaves what Docker can ask for again, or remove",
    async () => {
      await using lab = await dockerLab();
      await using one = await testNetns();
      let plugin = await lab.plugin();
      const steps: readonly [string, object][] = [
        ["NetworkDriver.CreateNetwork", createNetwork()],
        ["NetworkDriver.CreateEndpoint", { ...endpointKey("a1"), Interface: { Address: "10.77.0.2/24" } }],
        ["NetworkDriver.Join", endpointKey("a1")],
        ["NetworkDriver.ProgramExternalConnectivity", { ...endpointKey("a1"), Options: {} }],
      ];
      for (const [path, request] of steps)
        for (const delayMs of [0, 5, 15]) {
          const answer = lab.ask(path, request).catch(() => "no answer");
          await Bun.sleep(delayMs);
          await plugin.stop("SIGKILL");
          await answer;
          plugin = await lab.plugin();
          // As Docker does, that got no answer.
          expect(await lab.ask(path, request)).not.toHaveProperty("Err");
        }
      const { link } = await connect(lab, one, "b1", "10.77.0.3/24");
      expect(await lab.links()).not.toContain(link);
      for (const id of ["a1", "b1"]) await lab.call("NetworkDriver.DeleteEndpoint", endpointKey(id));
      await removeNetwork(lab);
      expect(await traces(lab)).toEqual(["lo"]);
      await plugin.stop();
    },
  );

  kernelTest("of a child at any moment is made good by the next one", async () => {
    await using lab = await dockerLab();
    const network = createNetwork();
    const endpoint = {
      ...endpointKey("a1"),
      Interface: { Address: "10.77.0.2/24", MacAddress: "02:00:00:00:00:01" },
    };
    const key = { networkId: NETWORK_ID, endpointId: "a1" };
    const all = [
      { what: "ports", ...key },
      { what: "endpoint", ...key },
      { what: "network", networkId: NETWORK_ID, endpointId: "" },
    ];
    const tasks = [
      { kind: "network", network },
      { kind: "endpoint", network, endpoint },
      { kind: "ports", network, endpoint, open: [binding(8080)] },
      { kind: "remove", what: all },
    ];
    const child = (task: object) =>
      Bun.spawn([...inside(lab.host.path), lab.heddle.at("heddle"), "docker-task"], {
        env: { ...lab.env },
        stdin: Buffer.from(JSON.stringify(task)),
        stdout: "pipe",
      });
    let killed = 0;
    for (const task of tasks)
      for (let ms = 4; ms < 60; ms += 7) {
        const doomed = child(task);
        await Bun.sleep(ms);
        doomed.kill("SIGKILL");
        await doomed.exited;
        if (doomed.signalCode === "SIGKILL") killed++;
        expect(await child(task).stdout.text()).toContain('"kind":"done"');
        if (task.kind === "remove") expect(await traces(lab)).toEqual(["lo"]);
        // Made from nothing, or mended.
        else if (ms % 2 === 0 && task.kind !== "ports") await child({ kind: "remove", what: all }).exited;
      }
    expect(killed).toBeGreaterThan(4);
    await child({ kind: "remove", what: all }).exited;
    expect(await traces(lab)).toEqual(["lo"]);
  });

  kernelTest("of the plugin that has lost everything it knew leaves what can still be removed", async () => {
    await using lab = await dockerLab();
    await using one = await testNetns();
    await using first = await lab.plugin();
    await lab.call("NetworkDriver.CreateNetwork", createNetwork());
    const a = await connect(lab, one, "a1", "10.77.0.2/24");
    await publish(lab, a, binding(8080));
    await first.stop("SIGKILL");
    await run(["rm", "-r", join(lab.dir, "state")]);
    await using _second = await lab.plugin();
    expect((await lab.ask("NetworkDriver.Join", endpointKey("a1")))["Err"]).toContain(
      "remove it from Docker",
    );
    await disconnect(lab, one, a);
    await removeNetwork(lab);
    expect(await traces(lab)).toEqual(["lo"]);
  });

  kernelTest("and the loss of every record leaves the marks", async () => {
    await using lab = await dockerLab();
    await using one = await testNetns();
    await using _plugin = await lab.plugin();
    await lab.call("NetworkDriver.CreateNetwork", createNetwork());
    const a = await connect(lab, one, "a1", "10.77.0.2/24");
    await publish(lab, a, binding(8080));
    for (const name of readdirSync(join(lab.dir, "run/attachments")))
      await run(["rm", join(lab.dir, "run/attachments", name)]);
    await disconnect(lab, one, a);
    await removeNetwork(lab);
    expect(await traces(lab)).toEqual(["lo"]);
  });
});

describe("many at once", () => {
  kernelTest("get their own addresses and links, and go again", async () => {
    await using lab = await dockerLab();
    await using _plugin = await lab.plugin();
    const gateway = { RequestAddressType: "com.docker.network.gateway" };
    const { PoolID } = await lab.call("IpamDriver.RequestPool", {
      AddressSpace: "heddle-local",
      Pool: "10.77.0.0/24",
    });
    await lab.call("IpamDriver.RequestAddress", { PoolID, Options: gateway });
    await lab.call("NetworkDriver.CreateNetwork", createNetwork());
    const ids = Array.from({ length: 24 }, (_, n) => `e${n}`);
    const links = await Promise.all(
      ids.map(async (id, n) => {
        const { Address } = await lab.call("IpamDriver.RequestAddress", {
          PoolID,
          Address: "",
          Options: null,
        });
        await lab.call("NetworkDriver.CreateEndpoint", { ...endpointKey(id), Interface: { Address } });
        const joined = (await lab.call("NetworkDriver.Join", endpointKey(id))) as {
          InterfaceName: { SrcName: string };
        };
        await publish(lab, { id }, binding(9000 + n));
        return [joined.InterfaceName.SrcName, Address];
      }),
    );
    expect(new Set(links.flat()).size).toBe(48);
    expect((await lab.links()).length).toBe(2 + 48);
    await Promise.all(ids.map((id) => lab.call("NetworkDriver.DeleteEndpoint", endpointKey(id))));
    await removeNetwork(lab);
    expect(await traces(lab)).toEqual(["lo"]);
  });
});
