/**
 * Compiles the executable: `dist/heddle` for this machine, with `--all` also the ones for arm64 and Windows. It is
 * built again only if a source or the toolchain changed, and renamed into place when it is complete, so that a build
 * never pulls the file away under a running test.
 */
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { bunFor, type CrossTarget } from "./bun-for.ts";
import { keepProgram } from "./keep-program.ts";
import { cacheDir, inProject, projectDir } from "./paths.ts";

/** What is built for whom. The native executable has no target: it is made from the Bun that runs this script. */
const outputs = {
  native: "dist/heddle",
  "bun-linux-x64": "dist/heddle-linux-x64",
  "bun-linux-x64-baseline": "dist/heddle-linux-x64-baseline",
  "bun-linux-x64-musl": "dist/heddle-linux-x64-musl",
  "bun-linux-x64-baseline-musl": "dist/heddle-linux-x64-baseline-musl",
  "bun-linux-arm64": "dist/heddle-linux-arm64",
  "bun-linux-arm64-musl": "dist/heddle-linux-arm64-musl",
  "bun-windows-x64": "dist/heddle-windows-x64.exe",
} as const satisfies Record<CrossTarget | "native", string>;
export const crossTargets = Object.keys(outputs).filter(
  (name) => name !== "native",
) as readonly CrossTarget[];

/** How every executable of ours is compiled. */
export const compileOptions: readonly string[] = [
  ...["--compile", "--bytecode", "--format=esm", "--minify", "--splitting", "--sourcemap"],
  // A plugin process runs most of its code once: compiling that costs more than it saves (1.3 ms and 2 MB of a loopback
  // ADD), and the agent on a large fabric gains nothing by it. The forwarder sets it back with Bun.unsafe.setJITPolicy(1).
  "--compile-jit-policy=10",
  // Otherwise the program runs code that it finds in its working directory (`preload` of a bunfig.toml).
  ...["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"],
];

/** The native executable; it need not exist yet. */
export const heddlePath: string = inProject(outputs.native);

/**
 * Builds the native executable if it is missing or older than what it is made of, and returns its path.
 * @throws if the compiler refuses the sources
 */
export function ensureBuilt(): Promise<string> {
  return build("native");
}

/** Builds the executable of a target if it is missing or older than what it is made of, and returns its path. */
export async function build(target: CrossTarget | "native"): Promise<string> {
  const outfile = inProject(outputs[target]);
  const stamp = join(cacheDir("build"), `${basename(outfile)}.inputs`);
  const wanted = await inputsHash();
  if (existsSync(outfile) && existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return outfile;
  // The executable's own name is part of its bytes, so the unfinished one differs by its folder.
  const unfinished = join(dirname(outfile), `.building-${process.pid}`, basename(outfile));
  mkdirSync(dirname(unfinished), { recursive: true });
  try {
    await compile(target, unfinished);
    keepProgram(unfinished);
    chmodSync(unfinished, 0o755);
    renameSync(unfinished, outfile);
    writeFileSync(stamp, wanted);
  } finally {
    rmSync(dirname(unfinished), { recursive: true, force: true });
  }
  return outfile;
}

async function compile(target: CrossTarget | "native", outfile: string): Promise<void> {
  const cross =
    target === "native" ? [] : [`--target=${target}`, `--compile-executable-path=${await bunFor(target)}`];
  const argv = [
    ...[process.execPath, "build", ...compileOptions],
    ...[
      `--define=HEDDLE_VERSION=${JSON.stringify(version())}`,
      `--define=HEDDLE_COMMIT=${JSON.stringify(commit())}`,
    ],
    ...cross,
    inProject("src/main.ts"),
    `--outfile=${outfile}`,
  ];
  const child = Bun.spawn(argv, { cwd: projectDir, stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`bun build ended with ${code}\n${stdout}${stderr}`);
}

function version(): string {
  const manifest = JSON.parse(readFileSync(inProject("package.json"), "utf8")) as { version: string };
  return manifest.version;
}

/** The commit that the sources stand on, with `+` after it if they differ from it; "unknown" outside a checkout. */
function commit(): string {
  const git = (...args: readonly string[]): string | undefined => {
    const { success, stdout } = Bun.spawnSync(["git", ...args], { cwd: projectDir, stderr: "ignore" });
    return success ? stdout.toString().trim() : undefined;
  };
  if (Bun.which("git") === null) return "unknown";
  const head = git("rev-parse", "--short=12", "HEAD");
  if (head === undefined) return "unknown";
  return git("status", "--porcelain", "--untracked-files=no", "--", "src", "package.json") === ""
    ? head
    : `${head}+`;
}

/** Changes when a source that can be part of the executable changes, or the way it is built. */
async function inputsHash(): Promise<string> {
  const hash = createHash("sha256").update(Bun.version);
  const sources = [...new Bun.Glob("src/**/*.{ts,json}").scanSync(projectDir)]
    .filter((path) => !path.includes(".test.") && !path.startsWith("src/testing/"))
    .concat(
      "scripts/build.ts",
      "scripts/keep-program.ts",
      "package.json",
      "package-lock.json",
      "tsconfig.json",
    )
    .toSorted();
  for (const path of sources) {
    hash.update(`${path}\0`);
    hash.update(await Bun.file(inProject(path)).bytes());
  }
  return hash.digest("hex");
}

if (import.meta.main) {
  const all = process.argv.includes("--all");
  for (const target of all ? (["native", ...crossTargets] as const) : (["native"] as const)) {
    const started = performance.now();
    const path = await build(target);
    const megabytes = (Bun.file(path).size / 1e6).toFixed(0);
    console.log(`${outputs[target]}  ${megabytes} MB  ${((performance.now() - started) / 1e3).toFixed(1)} s`);
  }
}
