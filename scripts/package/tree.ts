/** What an installation has, as files below its root. Every format is made of this. */
import { readdirSync, readFileSync } from "node:fs";
import { completionScript } from "../../src/cli/completion.ts";
import { PLUGIN_STUB } from "../../src/cli/install-files.ts";
import { placesFor } from "../../src/cli/install-places.ts";
import { makeProgram } from "../../src/cli/program.ts";
import { inProject } from "../paths.ts";
import { manualPage } from "./man.ts";
import { documentFiles } from "./pages.ts";
import type { TarEntry } from "./tar.ts";

const BIN = "opt/cni/bin";
const places = placesFor(`/${BIN}`);

const text = (path: string, from: string, mode?: number): TarEntry => ({
  path,
  bytes: readFileSync(inProject(from)),
  ...(mode === undefined ? {} : { mode }),
});
const zipped = (path: string, content: string): TarEntry => ({
  path,
  bytes: Bun.gzipSync(content, { level: 9 }),
});

/** The executable, in the directory where runtimes look, with a link or a small file for each plugin, a link for people and one for Podman 5. */
const programs = (executable: Uint8Array): readonly TarEntry[] => [
  { path: `${BIN}/heddle`, bytes: executable, mode: 0o755 },
  ...places.links.map((type) => ({ path: `${BIN}/${type}`, linkTo: "heddle" })),
  ...places.stubs.map((type) => ({ path: `${BIN}/${type}`, bytes: PLUGIN_STUB, mode: 0o755 })),
  { path: "usr/bin/heddle", linkTo: "/opt/cni/bin/heddle" },
  // Of the directories where Podman looks for plugins of netavark, the one for packages.
  { path: "usr/libexec/netavark/heddle", linkTo: "/opt/cni/bin/heddle" },
];

const units = (): readonly string[] =>
  readdirSync(inProject("packaging/systemd"))
    .filter((name) => /\.(?:service|socket)$/.test(name))
    .toSorted();

/** What other programs of the host read: units, drop-ins, completion. */
function forOthers(): readonly TarEntry[] {
  const program = makeProgram("heddle");
  const completion = (shell: string, path: string): TarEntry => ({
    path,
    bytes: `${completionScript(shell, program)}\n`,
  });
  return [
    ...units().map((name) => text(`usr/lib/systemd/system/${name}`, `packaging/systemd/${name}`)),
    text("usr/lib/systemd/network/05-heddle.network", "packaging/systemd/heddle-links.network"),
    text("usr/lib/systemd/networkd.conf.d/heddle.conf", "packaging/systemd/heddle-routes.conf"),
    text("usr/lib/NetworkManager/conf.d/heddle.conf", "packaging/NetworkManager/heddle.conf"),
    completion("bash", "usr/share/bash-completion/completions/heddle"),
    completion("zsh", "usr/share/zsh/vendor-completions/_heddle"),
    completion("fish", "usr/share/fish/vendor_completions.d/heddle.fish"),
  ];
}

function documents(version: string): readonly TarEntry[] {
  return [
    zipped("usr/share/man/man1/heddle.1.gz", manualPage(version)),
    text("usr/share/doc/heddle/copyright", "LICENSE"),
    zipped("usr/share/doc/heddle/changelog.gz", readFileSync(inProject("CHANGELOG.md"), "utf8")),
    ...documentFiles("usr/share/doc/heddle"),
  ];
}

/** Everything, the directories before what is in them. */
export function installation(executable: Uint8Array, version: string): readonly TarEntry[] {
  return withDirectories([...programs(executable), ...forOthers(), ...documents(version)]);
}

/** The entries, with a directory before the first that is in it. */
export function withDirectories(entries: readonly TarEntry[]): readonly TarEntry[] {
  const known = new Set<string>();
  return entries.flatMap((entry) => {
    const parts = entry.path.split("/").slice(0, -1);
    const missing = parts
      .map((_, i) => `${parts.slice(0, i + 1).join("/")}/`)
      .filter((path) => !known.has(path));
    for (const path of missing) known.add(path);
    return [...missing.map((path) => ({ path, directory: true as const })), entry];
  });
}
