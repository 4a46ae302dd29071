/**
 * The library as others get it: packed, installed into a fresh project, and used as docs/library.md says, its examples
 * run as they stand.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { inProject } from "../../scripts/paths.ts";
import { makeLibrary, packageDir } from "../../scripts/library.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { testNetns } from "../../src/testing/netns.ts";
import { plainEnv, run } from "../../src/testing/run.ts";
import { type TempDir, tempDir } from "../../src/testing/temp-dir.ts";

const LIMIT_MS = 120_000;
const NAME = "more-routes";
const kernelTest = testWith({ root: true, programs: ["ip"] });
const heddle = heddleOfFile();
const bin = (program: string): string => inProject("node_modules/.bin", program);
/** The project's own tools, found by name, and no home of the developer's. */
const env = (dir: TempDir) => ({
  ...plainEnv,
  PATH: `${inProject("node_modules/.bin")}:${plainEnv["PATH"] ?? ""}`,
  HOME: dir.path,
});

let archive: string;
let dir: TempDir;
/** The page's examples by the file that they are. */
let examples: ReadonlyMap<string, { readonly code: string; readonly output: string | undefined }>;

beforeAll(async () => {
  archive = await makeLibrary();
  dir = tempDir("library");
  await run([heddle.path, "new-plugin", NAME, "--library", archive], { cwd: dir.path });
  // What the project would fetch for its development is the project's that made it.
  const manifest = JSON.parse(readFileSync(dir.in(`${NAME}/package.json`), "utf8")) as object;
  writeFileSync(dir.in(`${NAME}/package.json`), JSON.stringify({ ...manifest, devDependencies: {} }));
  await run([bin("bun"), "install"], { cwd: dir.in(NAME), env: env(dir) });
  mkdirSync(dir.in(`${NAME}/node_modules/@types`), { recursive: true });
  for (const name of ["bun", "node"])
    symlinkSync(inProject("node_modules/@types", name), dir.in(`${NAME}/node_modules/@types/${name}`));
  const page = readFileSync(inProject("docs/library.md"), "utf8");
  const found = page.matchAll(
    /^<!-- file: (\S+) -->\n\n```ts\n([^]*?)^```\n(?:[^`]*?\n```text\n([^]*?)^```)?/gm,
  );
  examples = new Map([...found].map(([, file = "", code = "", output]) => [file, { code, output }]));
  for (const [file, { code }] of examples) writeFileSync(dir.in(`${NAME}/src/${file}`), code);
}, LIMIT_MS);
afterAll(() => dir[Symbol.dispose]());

const inside = (argv: readonly string[]) =>
  run(argv, { cwd: dir.in(NAME), env: env(dir), timeoutMs: LIMIT_MS });

describe("the package", () => {
  test("has nothing that publint complains about", async () => {
    const { stdout } = await run([bin("publint"), "run", packageDir, "--strict"], { env: env(dir) });
    expect(stdout).toContain("All good!");
  });

  test(
    "has types where every resolver of modules finds them",
    async () => {
      await run([bin("attw"), archive, "--profile", "esm-only", "--no-color"], { env: env(dir) });
    },
    LIMIT_MS,
  );

  test.each(["cni", "netlink", "nftables"])("has a page about %s, made of the doc comments", (name) => {
    const page = readFileSync(`${packageDir}/docs/${name}.md`, "utf8");
    expect(page.length).toBeGreaterThan(10_000);
  });

  test("brings nothing with it", () => {
    const { dependencies, exports } = JSON.parse(readFileSync(`${packageDir}/package.json`, "utf8")) as {
      readonly dependencies?: object;
      readonly exports: object;
    };
    expect(dependencies).toBeUndefined();
    expect(Object.keys(exports)).toEqual(["./cni", "./netlink", "./nftables", "./package.json"]);
  });
});

describe("a project of heddle new-plugin", () => {
  test(
    "and the page's examples have no error of types, those of the library included",
    async () => {
      expect(examples.size).toBe(3);
      await inside([bin("tsc"), "--skipLibCheck", "false"]);
    },
    LIMIT_MS,
  );

  test("passes its own test", async () => {
    const { stderr } = await inside([bin("bun"), "test"]);
    expect(stderr).toContain("2 pass");
  });

  kernelTest(
    "builds a plugin that attaches, checks and detaches as one of Heddle's own",
    async () => {
      await inside([bin("bun"), "run", "build"]);
      await using host = await testNetns();
      await using container = await testNetns();
      const path = `${dir.in(`${NAME}/dist`)}:${heddle.cniPath}`;
      mkdirSync(dir.in("net.d"), { recursive: true });
      const ipam = { type: "host-local", dataDir: dir.in("ipam"), subnet: "192.0.2.0/26" };
      const plugins = [
        { type: "bridge", bridge: "br0", ipam },
        { type: NAME, destinations: ["198.51.100.0/24", "2001:db8:1::/48"] },
      ];
      const list = { cniVersion: "1.1.0", name: "mynet", plugins };
      writeFileSync(dir.in("net.d/10-mynet.conflist"), JSON.stringify(list));
      const call = (verb: string, mustSucceed = true) =>
        host.exec([heddle.path, "cni", verb, "mynet", container.path, "--cache-dir", dir.in("results")], {
          env: { ...plainEnv, CNI_PATH: path, NETCONFPATH: dir.in("net.d"), HEDDLE_RUN_DIR: dir.in("run") },
          mustSucceed,
        });
      const routes = async () => (await container.exec(["ip", "route", "show", "dev", "eth0"])).stdout;
      await call("add");
      expect(await routes()).toContain("198.51.100.0/24");
      expect((await container.exec(["ip", "-6", "route"])).stdout).toContain("2001:db8:1::/48 dev eth0");
      await call("check");
      await container.exec(["ip", "route", "del", "198.51.100.0/24"]);
      expect((await call("check", false)).stderr).toContain("198.51.100.0/24");
      await call("del");
      expect((await host.exec(["ip", "-brief", "link", "show", "type", "veth"])).stdout).toBe("");
    },
    LIMIT_MS,
  );
});

describe("the page's examples", () => {
  kernelTest("run as they stand and print what it says", async () => {
    for (const [file, { output }] of examples) {
      if (output === undefined) continue;
      await using netns = await testNetns();
      const { stdout } = await netns.exec([bin("bun"), `src/${file}`], { cwd: dir.in(NAME), env: env(dir) });
      expect({ file, stdout }).toEqual({ file, stdout: output });
    }
  });

  kernelTest("attach a container from a process that lives on, by processes of plugins", async () => {
    await using host = await testNetns();
    await using container = await testNetns();
    mkdirSync(dir.in("attach.d"), { recursive: true });
    const ipam = { type: "host-local", dataDir: dir.in("attach-ipam"), subnet: "192.0.2.0/26" };
    const list = { cniVersion: "1.1.0", name: "mynet", plugins: [{ type: "bridge", bridge: "br0", ipam }] };
    writeFileSync(dir.in("attach.d/10-mynet.conflist"), JSON.stringify(list));
    const words = [dir.in("attach.d"), heddle.cniPath, container.path, dir.in("cache")];
    const { stdout } = await host.exec([bin("bun"), "src/attach.ts", ...words], {
      cwd: dir.in(NAME),
      env: { ...env(dir), HEDDLE_RUN_DIR: dir.in("run") },
    });
    expect(stdout).toBe("attached: 192.0.2.2/26\ndetached\n");
  });

  kernelTest("a process that is no plugin is told that it must not enter a namespace", async () => {
    await using container = await testNetns();
    const code = `import { serve } from "heddle/cni";
import { plugin } from "./plugin.ts";
const conf = { cniVersion: "1.1.0", name: "n", type: plugin.type, destinations: [], prevResult: { cniVersion: "1.1.0" } };
const env = { CNI_COMMAND: "ADD", CNI_CONTAINERID: "c", CNI_IFNAME: "lo", CNI_NETNS: "${container.path}", CNI_PATH: "/" };
console.log((await serve(plugin, { env, stdin: JSON.stringify(conf) })).stdout);
`;
    writeFileSync(dir.in(`${NAME}/src/enters.ts`), code);
    const { stdout } = await inside([bin("bun"), "src/enters.ts"]);
    expect(stdout).toContain(
      "a namespace is not entered: a process that uses heddle/cni runs plugins as processes",
    );
  });
});
