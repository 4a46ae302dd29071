/** What `heddle new-plugin` writes: a project with one plugin, as a function from its name to files. */

export interface NewPlugin {
  /** What the plugin will be called, as `type` of a configuration and as a file. */
  readonly name: string;
  /** The library as one file: its absolute path. */
  readonly library: string;
  /** The version of Bun that this executable was built with. */
  readonly bun: string;
}

/** Paths below the project's folder, and what stands there. */
export const filesOf = (plugin: NewPlugin): Readonly<Record<string, string>> => ({
  "package.json": packageJson(plugin),
  "tsconfig.json": tsconfig,
  ".gitignore": "node_modules/\ndist/\n",
  "README.md": readme(plugin),
  "src/plugin.ts": source(plugin),
  "src/plugin.test.ts": testSource,
  "src/main.ts": main,
});

const packageJson = ({ name, library, bun }: NewPlugin): string =>
  `${JSON.stringify(
    {
      name,
      version: "0.1.0",
      private: true,
      type: "module",
      scripts: {
        check: "tsc",
        test: "bun test",
        build: `bun build --compile --bytecode --format=esm --minify --no-compile-autoload-dotenv --no-compile-autoload-bunfig src/main.ts --outfile dist/${name}`,
      },
      dependencies: { heddle: `file:${library}` },
      devDependencies: { "@types/bun": `^${bun.replace(/\d+$/, "0")}`, typescript: "^7.0.0" },
    },
    undefined,
    2,
  )}\n`;

const tsconfig = `${JSON.stringify(
  {
    compilerOptions: {
      lib: ["ESNext"],
      target: "ESNext",
      module: "Preserve",
      moduleResolution: "bundler",
      allowImportingTsExtensions: true,
      verbatimModuleSyntax: true,
      noEmit: true,
      types: ["bun"],
      strict: true,
      noUncheckedIndexedAccess: true,
      exactOptionalPropertyTypes: true,
    },
    include: ["src"],
  },
  undefined,
  2,
)}\n`;

const main = `import { runPlugin } from "heddle/cni";
import { plugin } from "./plugin.ts";

await runPlugin(plugin);
`;

const source = ({ name }: NewPlugin): string => `import {
  emptyResult,
  kernelPlugin,
  list,
  object,
  parsed,
  parsePrefix,
  type Plan,
  type PlanInput,
  required,
} from "heddle/cni";

/** The keys of a configuration, and what they are: {"type": "${name}", "destinations": ["192.0.2.0/24"]} */
const options = object({ destinations: required(list(parsed(parsePrefix))) });
type Config = ReturnType<typeof options>;
type Input = Pick<PlanInput<Config>, "config" | "ifname" | "prevResult">;

/** Reads nothing but its arguments. What it returns, ADD makes, CHECK compares with the kernel, and DEL removes. */
export function plan({ config, ifname, prevResult = emptyResult }: Input): Plan {
  const link = { place: "container", link: ifname, foreignLink: true } as const;
  return {
    state: {
      objects: config.destinations.map((dst) => ({ kind: "route", possession: "exclusive", ...link, dst })),
    },
    result: prevResult,
  };
}

/** \`${name}\`: networks that a container reaches by its interface, which the plugin before this one made. */
export const plugin = kernelPlugin<Config>({
  type: "${name}",
  about: "More networks that are reached by the container's interface",
  options: [options],
  chained: true,
  parse: (conf) => options(conf.raw, ""),
  parseForRemoval: () => ({ destinations: [] }),
  needs: () => ({}),
  plan,
  firewalls: () => [],
});
`;

const testSource = `import { expect, test } from "bun:test";
import { emptyResult, parsePrefix, serve } from "heddle/cni";
import { plan, plugin } from "./plugin.ts";

const call = { CNI_COMMAND: "ADD", CNI_CONTAINERID: "c", CNI_IFNAME: "eth0", CNI_NETNS: "/run/netns/c", CNI_PATH: "/" };

test("each destination becomes a route over the interface, and the result is passed on", () => {
  const dst = parsePrefix("192.0.2.0/24");
  if (!dst.ok) throw new Error(dst.why);
  const { state, result } = plan({ config: { destinations: [dst.value] }, ifname: "eth0" });
  expect(state.objects).toMatchObject([{ kind: "route", place: "container", link: "eth0", dst: dst.value }]);
  expect(result).toEqual(emptyResult);
});

test("a destination that is no network is refused, with its place in the configuration", async () => {
  const conf = { cniVersion: "1.1.0", name: "net", type: plugin.type, destinations: ["192.0.2.0/33"] };
  const { code, stdout } = await serve(plugin, { env: call, stdin: JSON.stringify(conf) });
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({ code: 7, msg: expect.stringContaining("destinations[0]") });
});
`;

const readme = ({ name }: NewPlugin): string => `# ${name}

A CNI plugin, made with Heddle's library. \`src/plugin.ts\` is all of it.

\`\`\`sh
bun install
bun run check && bun test && bun run build
\`\`\`

\`dist/${name}\` is the executable. Put it into the directory of the other plugins (mostly \`/opt/cni/bin\`) and name it in a
list, after the plugin that makes the interface:

\`\`\`json
{
  "cniVersion": "1.1.0",
  "name": "mynet",
  "plugins": [
    { "type": "bridge", "isGateway": true, "ipam": { "type": "host-local", "subnet": "10.88.0.0/16" } },
    { "type": "${name}", "destinations": ["192.0.2.0/24"] }
  ]
}
\`\`\`
`;
