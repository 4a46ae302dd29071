/**
 * The README's promises: each block marked `<!-- run -->` runs as it stands, in the order of the page, on a private
 * host, and prints what the page says; and every example list attaches a container and detaches it again.
 */
import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { ensureBuilt } from "../scripts/build.ts";
import { projectDir } from "../scripts/paths.ts";
import { blocksOf, onPrivateHost, runBlocks } from "./blocks.ts";
import { pluginTypes, registry } from "../src/plugins/registry.ts";
import { kernelTestWith, testWith } from "../src/testing/needs.ts";
import { plainEnv, run } from "../src/testing/run.ts";
import { tempDir } from "../src/testing/temp-dir.ts";

const rootTest = testWith({ root: true, programs: ["ip", "nft", "unshare", "mount", "bash", "npm"] });
const LIMIT_MS = 60_000;

const readme = await Bun.file(`${projectDir}/README.md`).text();

rootTest(
  "the README's commands run as they stand and print what it says",
  async () => {
    await ensureBuilt();
    const blocks = blocksOf(readme);
    expect(blocks.length).toBeGreaterThanOrEqual(5);
    await runBlocks(blocks, LIMIT_MS);
  },
  LIMIT_MS,
);

/** Every list of the manual: the first block of a page that has plugins, and the files in `examples/`. */
async function exampleLists(): Promise<readonly (readonly [string, string])[]> {
  const files = [...new Bun.Glob("examples/*.conflist").scanSync(projectDir)];
  const pages = [...new Bun.Glob("src/plugins/*/*/README.md").scanSync(projectDir)];
  const fromFiles = await Promise.all(
    files.map(async (f) => [f, await Bun.file(`${projectDir}/${f}`).text()] as const),
  );
  const fromPages = await Promise.all(
    pages.map(async (page) => {
      const text = await Bun.file(`${projectDir}/${page}`).text();
      return [...text.matchAll(/^```json\n([^]*?)^```/gm)]
        .map((match) => match[1] ?? "")
        .filter((json) => json.includes('"plugins"'))
        .map((json) => [page, json] as const);
    }),
  );
  return [...fromFiles, ...fromPages.flat()].toSorted();
}
const examples = await exampleLists();

/** Plugins whose kind of link the kernel may lack. */
const kinds = ["dummy", "ipvlan", "vlan", "vrf"] as const;
function testOf(where: string): (title: string, body: () => Promise<void>) => void {
  const kind = kinds.find((k) => where.includes(`/${k}/`));
  return kind === undefined ? rootTest : kernelTestWith(kind);
}

/**
 * What is on the host: a link that others hang on, on the network of the examples, and one to lend; what a Flannel daemon
 * tells.
 */
const THINGS = [
  "ip link add eth0 type veth peer name wire",
  "ip address add 192.0.2.2/24 dev eth0",
  "ip link set wire up",
  "ip link set eth0 up",
  "ip link add hdl-lent type veth peer name lent-peer",
  "mkdir -p /run/flannel",
  "printf 'FLANNEL_NETWORK=10.244.0.0/16\\nFLANNEL_SUBNET=10.244.3.1/24\\n' > /run/flannel/subnet.env",
  "printf 'FLANNEL_MTU=1450\\nFLANNEL_IPMASQ=false\\n' >> /run/flannel/subnet.env",
];

describe("every example list", () => {
  test("is there: one in examples/, and one for each plugin that is no IPAM", () => {
    const shown = new Set(examples.map(([where]) => where));
    const pages = pluginTypes
      .filter((type) => registry[type].kind !== "ipam")
      .map((type) => `src/plugins/${registry[type].kind}/${type}/README.md`);
    for (const page of ["examples/mynet.conflist", ...pages]) expect(shown).toContain(page);
  });

  for (const [where, json] of examples)
    testOf(where)(`of ${where} attaches, checks and detaches`, async () => {
      const heddle = await ensureBuilt();
      const list = JSON.parse(json) as { readonly name: string; readonly cniVersion: string };
      using dir = tempDir("example");
      const [conf, bin] = [dir.in("net.d"), dir.in("bin")];
      mkdirSync(conf);
      writeFileSync(`${conf}/example.conflist`, json);
      await run([heddle, "install", "--cni-bin-dir", bin]);
      // 0.3.0 has no CHECK.
      const verbs = list.cniVersion === "0.3.0" ? ["add", "del"] : ["add", "check", "del"];
      const lines = verbs.map((verb) => `${bin}/heddle cni ${verb} ${list.name} /run/netns/example`);
      writeFileSync(
        dir.in("run.sh"),
        ["set -eu", ...THINGS, "ip netns add example", ...lines, ""].join("\n"),
      );
      const mappings = [{ hostPort: 9090, containerPort: 80, protocol: "tcp", hostIP: "127.0.0.1" }];
      const { code, stdout, stderr } = await run(onPrivateHost("bash", dir.in("run.sh")), {
        env: {
          ...plainEnv,
          CNI_PATH: bin,
          NETCONFPATH: conf,
          CAP_ARGS: JSON.stringify({ portMappings: mappings }),
        },
        mustSucceed: false,
      });
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(JSON.parse(stdout)).toMatchObject({ cniVersion: list.cniVersion });
    });
});

test("the README lists every plugin and links its page", () => {
  for (const type of pluginTypes)
    expect(readme).toMatch(new RegExp(`\\[\`${type}\`\\]\\(src/plugins/\\w+/${type}/README\\.md\\)`));
});
