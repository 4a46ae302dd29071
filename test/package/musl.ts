/**
 * A system without glibc: musl and the C++ library that Bun's executables for musl ask for, and no program. Debian has
 * no such C++ library; this one is linked from its static parts, with the few functions of glibc that those ask for.
 * Everything is unpacked from packages into the cache, and nothing is installed.
 */
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unpackDebian } from "../../scripts/debian.ts";
import { cacheDir } from "../../scripts/paths.ts";
import { plainEnv, run } from "../../src/testing/run.ts";

/** What Debian calls a machine, and what its compilers call it. */
const gnuNames = { amd64: "x86_64", arm64: "aarch64" } as const;
export type Machine = keyof typeof gnuNames;

/** How each machine goes on in another function, and returns -1. */
const assembly = {
  amd64: { goOn: (name: string) => `jmp ${name}@PLT`, fail: "mov $-1, %eax\nret" },
  arm64: { goOn: (name: string) => `b ${name}`, fail: "mov w0, #-1\nret" },
} as const;

/** What Debian's static libraries take for granted and musl does not have, seen by them alone. */
function glue(machine: Machine): string {
  const { goOn, fail } = assembly[machine];
  const data = { __dso_handle: ".quad 0", __libc_single_threaded: ".byte 0" };
  const code = {
    __strftime_l: goOn("strftime_l"),
    __getauxval: goOn("getauxval"),
    // Destructors of threads, random numbers and the places of exceptions: Bun's code asks for none of them.
    __cxa_thread_atexit_impl: fail,
    _dl_find_object: fail,
    arc4random: fail,
  };
  const defined = (what: Readonly<Record<string, string>>): readonly string[] =>
    Object.entries(what).map(([name, is]) => `.hidden ${name}\n.globl ${name}\n${name}: ${is}`);
  const lines = [".data", ".balign 8", ...defined(data), ".text", ...defined(code)];
  return `${[...lines, ".section .note.GNU-stack"].join("\n")}\n`;
}

/** Fills the directory `root`. @throws if apt cannot fetch a package, or what it has cannot be linked */
export async function muslSystem(root: string, machine: Machine): Promise<void> {
  const gnu = gnuNames[machine];
  const cache = cacheDir("debian");
  const places = {
    musl: join(cache, `musl-${machine}`),
    static: join(cache, `libstdc++-static-${machine}`),
    tools: join(cache, "binutils"),
  };
  // Of earlier suites it has no statx.
  await unpackDebian(places.musl, "trixie", (apt) => apt.download([`musl:${machine}`]), undefined, machine);
  const libraries = [`libstdc++-12-dev:${machine}`, `libgcc-12-dev:${machine}`];
  await unpackDebian(places.static, "bookworm", (apt) => apt.download(libraries), undefined, machine);
  const tools = ["binutils-x86-64-linux-gnu", "binutils-aarch64-linux-gnu"];
  await unpackDebian(places.tools, "bookworm", (apt) => apt.downloadWithMissing(tools));

  for (const dir of ["lib", "usr/lib"]) mkdirSync(join(root, dir), { recursive: true });
  const loader = `ld-musl-${gnu}.so.1`;
  copyFileSync(join(places.musl, `usr/lib/${gnu}-linux-musl/libc.so`), join(root, "lib", loader));
  symlinkSync(loader, join(root, "lib", `libc.musl-${gnu}.so.1`));

  const [source, object] = [join(root, "glue.s"), join(root, "glue.o")];
  writeFileSync(source, glue(machine));
  const env = { ...plainEnv, LD_LIBRARY_PATH: join(places.tools, `usr/lib/${gnuNames[host()]}-linux-gnu`) };
  const tool = (name: string, ...words: readonly string[]) =>
    run([join(places.tools, `usr/bin/${gnu}-linux-gnu-${name}`), ...words], { env });
  await tool("as", source, "-o", object);
  const part = (name: string): string => join(places.static, `usr/lib/gcc/${gnu}-linux-gnu/12`, name);
  await tool(
    "ld",
    ...["-shared", "--soname=libstdc++.so.6", "-o", join(root, "usr/lib/libstdc++.so.6"), object],
    ...["--whole-archive", part("libstdc++.a"), "--no-whole-archive", part("libgcc.a"), part("libgcc_eh.a")],
  );
}

const host = (): Machine => (process.arch === "arm64" ? "arm64" : "amd64");
