/**
 * The project's rules about its own text. Each says in its failure why it is there; what a compiler or a linter can
 * check is not here.
 */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import type { Command, Option } from "commander";
import { anchorOf, hint } from "./cli/hints.ts";
import { makeProgram } from "./cli/program.ts";
import { filesOf, functionsOf, type Source, sourcesOf, textOf } from "./testing/sources.ts";

const isTest = (path: string): boolean => /\.test\.ts$|^src\/testing\/|^test\//.test(path);
const everything = sourcesOf("{src,test,bench,scripts}/**/*.ts");
const sources = everything.filter(({ path }) => path.startsWith("src/") && !isTest(path));
const documents = filesOf("**/*.md");

const linesWithAddress = (lock: string): readonly string[] => lock.match(/^.*"resolved": "\w+:.*$/gm) ?? [];

/** Fails with the reason if anything is found. */
function none(found: readonly string[], why: string): void {
  if (found.length > 0) throw new Error(`${why}\n  ${found.join("\n  ")}`);
}
/** The lines of some files that match, as `path:line: text`. */
const linesWith = (files: readonly Source[], pattern: RegExp): readonly string[] =>
  files.flatMap(({ path, code }) =>
    code.split("\n").flatMap((line, i) => (pattern.test(line) ? [`${path}:${i + 1}: ${line.trim()}`] : [])),
  );
const inFolders =
  (...folders: readonly string[]) =>
  (source: Source) =>
    folders.some((folder) => source.path.startsWith(`src/${folder}/`));
const outside = (...folders: readonly string[]) => {
  const inside = inFolders(...folders);
  return (source: Source) => !inside(source);
};

describe("layers", () => {
  /** From the lowest to the highest; those of one line may not import each other. */
  const order: readonly (readonly string[])[] = [
    ["errors.ts", "build-info.ts"],
    ["net"],
    ["wire"],
    ["sys"],
    ["netlink"],
    ["rtnl", "nft", "nfnl", "genl", "dbus", "diag"],
    ["firewall"],
    ["netstate"],
    ["forwarder", "fabric"],
    ["cni"],
    ["dhcp"],
    ["plugins", "package"],
    ["providers"],
    ["docker"],
    ["netavark"],
    ["agent"],
    ["lab"],
    ["cli"],
    ["main.ts"],
  ];
  const layerOf = (path: string): string => path.split("/")[1] ?? "";
  const heightOf = (path: string): number => order.findIndex((level) => level.includes(layerOf(path)));

  test("every file of src stands in a layer", () => {
    const strangers = sources.map(({ path }) => path).filter((path) => heightOf(path) < 0);
    none(strangers, "A folder that no rule knows escapes the rules: add it to the order in this test.");
  });

  test("a layer imports only from itself and from below", () => {
    const wrong = sources.flatMap(({ path, imports }) =>
      imports
        .filter(
          (to) => to.startsWith("src/") && layerOf(to) !== layerOf(path) && heightOf(to) >= heightOf(path),
        )
        .map((to) => `${path} imports ${to}`),
    );
    none(wrong, "An import upwards makes two layers one: neither can be read, tested or replaced alone.");
  });

  test("only tests import tests' helpers, and src imports nothing from other folders", () => {
    const wrong = sources.flatMap(({ path, imports }) =>
      imports
        .filter((to) => to.startsWith("src/testing/") || !to.startsWith("src/"))
        .map((to) => `${path} imports ${to}`),
    );
    none(wrong, "What ships must not depend on test fixtures or scripts.");
  });
});

describe("what a layer may do", () => {
  test("bun:ffi is imported in sys alone", () => {
    const wrong = sources.filter(outside("sys")).filter(({ modules }) => modules.includes("bun:ffi"));
    none(
      wrong.map(({ path }) => path),
      "Raw pointers go stale without a sign (decision 1): one small folder handles them.",
    );
    none(
      linesWith(sources.filter(outside("sys")), /\bptr\(/),
      "A pointer outside sys has no owner for its memory.",
    );
  });

  test("values are branded in net alone", () => {
    const brands = sources
      .filter(inFolders("net"))
      .flatMap(({ code }) => [...code.matchAll(/export type (\w+) = Brand</g)].map((match) => match[1]));
    expect(brands.length).toBeGreaterThan(0);
    const cast = new RegExp(`\\bas (?:${brands.join("|")})\\b(?! from)`);
    const casts = linesWith(sources.filter(outside("net")), cast).filter(
      (line) => !/^\S+ (?:import|export) /.test(line),
    );
    none(casts, "A cast skips the check that the type promises was made: use the parser in net.");
  });

  test("nothing ends the process", () => {
    none(
      linesWith(
        // Who cannot leave a namespace must not go on in it.
        sources.filter(({ path }) => path !== "src/sys/netns.ts"),
        /\bprocess\.(?:exit|abort|reallyExit)\(/,
      ),
      "What is still in a pipe is lost: set process.exitCode.",
    );
  });

  test("console is for scripts and tests", () => {
    none(
      linesWith(sources.filter(outside("cli")), /\bconsole\./),
      "Standard output carries the answer to the runtime, and nothing else.",
    );
  });

  test("no module of node on the plugin path", () => {
    // The runtime and what runs programs of iptables have more to load than that; flows are looked for with UDP alone.
    const allowed: Readonly<Record<string, readonly string[]>> = {
      "src/cni/load.ts": ["node:fs", "node:path"],
      "src/cni/cache.ts": ["node:fs", "node:path"],
      "src/firewall/iptables.ts": ["node:fs", "node:path"],
      "src/firewall/iptables-run.ts": ["node:fs"],
      "src/nfnl/conntrack.ts": ["node:os"],
    };
    const path = sources.filter(outside("cli", "fabric", "forwarder", "providers", "agent", "lab"));
    const wrong = path.filter(({ path: p, modules }) =>
      modules.some((m) => m.startsWith("node:") && !allowed[p]?.includes(m)),
    );
    none(
      wrong.map(({ path: p }) => p),
      "Loading node:fs costs every plugin process 0.7 ms (use sys/files.ts), node:crypto 2.4 ms (use Bun.CryptoHasher and\n" +
        "crypto.getRandomValues). The promises of node:fs start threads, which stay in the namespace they started in.",
    );
    none(linesWith(path, /\bfs\.promises\b/), "As above.");
  });

  test("the plugin path loads no command line", () => {
    const main = sources.find(({ path }) => path === "src/main.ts");
    const reached = new Set<string>();
    const byPath = new Map(sources.map((source) => [source.path, source]));
    const visit = (source: Source | undefined): void => {
      if (source === undefined || reached.has(source.path)) return;
      reached.add(source.path);
      // What is loaded by `import(…)` is loaded when it is asked for.
      const lazy = new Set([...source.code.matchAll(/\bimport\("([^"]+)"\)/g)].map((m) => m[1] ?? ""));
      const eager = source.imports.filter(
        (to) => ![...lazy].some((l) => normalize(join(dirname(source.path), l)) === to),
      );
      for (const to of eager) visit(byPath.get(to));
    };
    visit(main);
    expect(main).toBeDefined();
    none(
      [...reached].filter((path) =>
        /^src\/(?:cli|fabric|forwarder|providers|agent|lab|plugins\/\w+)\//.test(path),
      ),
      "A plugin process starts with these though it needs none of them: load them when they are asked for.",
    );
  });

  test("no shell", () => {
    none(
      linesWith(
        sources,
        /["'`](?:\/bin\/)?(?:ba|da|z)?sh["'`]\s*,\s*["'`]-c|\bshell:\s*true|\bBun\.\$|\bexecSync\(/,
      ),
      "Names and paths come from outside; a shell would run what is in them.",
    );
  });
});

describe("size and form", () => {
  test("a file has at most 450 lines, a function 80", () => {
    none(
      everything
        .filter(({ text }) => text.split("\n").length > 451)
        .map(({ path, text }) => `${path}: ${text.split("\n").length - 1}`),
      "A file of this length has two subjects.",
    );
    const long = sources.flatMap((source) =>
      functionsOf(source)
        .filter(({ lines }) => lines > 80)
        .map(({ name, lines }) => `${source.path}: ${name} has ${lines} lines`),
    );
    none(long, "A function of this length cannot be seen at once.");
  });

  test("names of files are in kebab-case", () => {
    const odd = everything
      .map(({ path }) => path)
      .filter((path) => !/^(?:[a-z0-9-]+\/)*[a-z0-9.-]+\.ts$/.test(path));
    none(odd, "One form of names finds a file on every file system.");
  });

  test("every file begins by saying what it owns", () => {
    const silent = sources.filter(({ text }) => {
      const withoutImports = text.replaceAll(/^(?:import|export) [^;]*? from "[^"]+";$/gm, "").trimStart();
      return !text.startsWith("/**") && !withoutImports.startsWith("/**");
    });
    none(
      silent.map(({ path }) => path),
      "A newcomer opens a file and must learn in three sentences what it is for.",
    );
  });

  test("no default exports, no unfinished work, nothing switched off", () => {
    none(linesWith(sources, /^export default\b/), "A thing has one name, the same wherever it is used.");
    const marks = /\b(?:TODO|FIXME|XXX)\b|@ts-(?:ignore|nocheck)/;
    none(
      everything.flatMap(({ path, text }) =>
        path === "src/tidy.test.ts"
          ? []
          : text.split("\n").flatMap((line, i) => (marks.test(line) ? [`${path}:${i + 1}`] : [])),
      ),
      "Unfinished work is an issue, not a comment.",
    );
  });

  test("no test is singled out or left for later", () => {
    const tests = everything.filter(({ path }) => path.endsWith(".test.ts") && path !== "src/tidy.test.ts");
    none(
      linesWith(tests, /\b(?:test|it|describe)\.(?:only|todo|skip|failing)\(/),
      "`only` hides all other tests of a file; a skip needs a condition and a reason.",
    );
  });

  test("no source is dead", () => {
    const imported = new Set(everything.flatMap(({ imports }) => imports));
    const { files } = JSON.parse(textOf("tsconfig.package.json")) as { readonly files: readonly string[] };
    const entries = new Set(["src/main.ts", ...files]);
    const dead = sources.map(({ path }) => path).filter((path) => !entries.has(path) && !imported.has(path));
    none(dead, "Nobody imports these.");
  });

  test("every capture is read by a test", () => {
    const unread = filesOf("src/**/golden/*").filter((path) => {
      const [folder = "", name = ""] = path.split("/golden/");
      const readers = everything.filter((source) => isTest(source.path) && dirname(source.path) === folder);
      return !readers.some(({ text }) => text.includes(name) || text.includes("golden/*"));
    });
    none(unread, "A capture that no test reads proves nothing.");
  });
});

describe("the manual", () => {
  test("docs/errors.md explains every error code with its number, and no other", () => {
    const numbers = numbersOfCodes();
    const sections = new Map(
      textOf("docs/errors.md")
        .split(/^### /m)
        .slice(1)
        .map((part) => [part.split("\n", 1)[0] ?? "", part]),
    );
    expect([...sections.keys()].toSorted()).toEqual(Object.keys(hint).toSorted());
    for (const [code, section] of sections) {
      const number = numbers.get(code);
      expect([code, number]).not.toEqual([code, undefined]);
      if (number !== 999) expect(section).toMatch(new RegExp(`^CNI ${number}\\b`, "m"));
    }
  });

  test("docs/command-line.md has every command and every option", () => {
    const page = textOf("docs/command-line.md").replaceAll(/ +/g, " ");
    const missing = wordsOf(makeProgram("heddle")).filter((word) => !page.includes(word));
    none([...new Set(missing)], "Whoever has no terminal at hand looks there.");
  });

  test("every plugin has a README in its folder, with an example, its options in a table, and a drawing", () => {
    const folders = filesOf("src/plugins/*/*/plugin.ts").map((path) => path.replace(/\/plugin\.ts$/, ""));
    const lacking = folders.filter((folder) => {
      const page = existsSync(join(import.meta.dir, "..", folder, "README.md"))
        ? textOf(`${folder}/README.md`)
        : "";
      const hasOptions =
        /^\| Key .*\| Meaning|^\| Key .*\| Rule/m.test(page) || page.includes("It has no options.");
      return !(page.includes("```json\n") && hasOptions && /^```text\n[^`]*[─►◄]/m.test(page));
    });
    none(lacking, "What a plugin takes and what it builds stand beside it.");
  });

  test("every decision stands in the index, under its number", () => {
    const files = filesOf("docs/decisions/*.md").map((path) => path.split("/").at(-1) ?? "");
    const decisions = files.filter((name) => name !== "README.md").toSorted();
    const index = textOf("docs/decisions/README.md");
    const listed = [...index.matchAll(/^(\d+)\. \[[^\]]+\]\((\d{4}-[a-z0-9-]+\.md)\)$/gm)];
    expect(listed.map(([, , name]) => name)).toEqual(decisions);
    expect(listed.map(([, number]) => number?.padStart(4, "0"))).toEqual(
      decisions.map((name) => name.slice(0, 4)),
    );
  });

  test("every relative link leads to a file and a heading", () => {
    const broken = documents.flatMap((path) =>
      [
        ...textOf(path)
          .replaceAll(/^(?:```[\s\S]*?^```| {4}.*)$/gm, "")
          .matchAll(/\]\(([^)\s]+)\)/g),
      ]
        .map((match) => match[1] ?? "")
        .filter((link) => !/^[a-z]+:/.test(link) && !leadsSomewhere(path, link))
        .map((link) => `${path}: ${link}`),
    );
    none(broken, "A reader follows these and finds nothing.");
  });
});

describe("the repository", () => {
  test("names no folder of one machine", () => {
    const paths = [
      ...documents,
      ...filesOf("*.json"),
      ...filesOf(".ci/*"),
      ...everything.map(({ path }) => path),
    ];
    const machine = new RegExp(`(?<![\\w}])/(?:${["work", "tmp/brief", "root", "home/\\w+"].join("|")})/`);
    const found = paths.flatMap((path) =>
      textOf(path)
        .split("\n")
        .flatMap((line, i) => (machine.test(line) ? [`${path}:${i + 1}: ${line.trim().slice(0, 80)}`] : [])),
    );
    none(found, "These exist on one machine only.");
  });

  test("the lock file records no download address", () => {
    const addresses = linesWithAddress(textOf("package-lock.json"));
    none(addresses, "Everyone fetches from the registry that is set where he works.");
  });
});

/** The numbers in src/cni/errors.ts, its named ones included. */
function numbersOfCodes(): ReadonlyMap<string, number> {
  const text = textOf("src/cni/errors.ts");
  const named = new Map(
    [...text.matchAll(/^export const ([A-Z_]+) = (\d+);/gm)].map((m) => [m[1] ?? "", Number(m[2])]),
  );
  const pairs = [...text.matchAll(/^ {2}"?([a-z/-]+)"?: (\w+),$/gm)];
  return new Map(pairs.map(([, code = "", value = ""]) => [code, named.get(value) ?? Number(value)]));
}

/** Every command with the words before it, and every option. */
function wordsOf(command: Command, before = ""): readonly string[] {
  const path = `${before}${command.name()}`;
  const options = command.options.filter((o: Option) => !o.hidden).map((o) => o.long ?? o.short ?? "");
  return [path, ...options, ...command.commands.flatMap((c) => wordsOf(c, `${path} `))];
}

function leadsSomewhere(from: string, link: string): boolean {
  const [file = "", anchor] = link.split("#");
  const path = file === "" ? from : normalize(join(dirname(from), file));
  const onDisk = join(import.meta.dir, "..", path);
  if (!existsSync(onDisk)) return false;
  if (anchor === undefined || anchor === "" || !path.endsWith(".md")) return true;
  return [...textOf(path).matchAll(/^#+ (.*)$/gm)].some((heading) => anchorOf(heading[1] ?? "") === anchor);
}
