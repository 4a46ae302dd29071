/** Packages of Debian (deb(5)): an archive of ar with what the package manager reads, and what it unpacks. */
import { readFileSync } from "node:fs";
import { inProject } from "../paths.ts";
import { type TarEntry, tar } from "./tar.ts";

export interface DebPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: "amd64" | "arm64";
  readonly description: string;
  readonly conflicts: readonly string[];
  readonly files: readonly TarEntry[];
}

/** An ar archive in its common form, every member as old as the epoch. */
function ar(members: readonly (readonly [name: string, bytes: Uint8Array])[]): Uint8Array {
  const field = (value: string, width: number): string => value.padEnd(width);
  const parts = members.flatMap(([name, bytes]) => [
    Buffer.from(
      `${field(name, 16)}${field("0", 12)}${field("0", 6)}${field("0", 6)}${field("100644", 8)}${field(String(bytes.length), 10)}\`\n`,
    ),
    bytes,
    // Members begin at even places.
    Buffer.from(bytes.length % 2 === 0 ? "" : "\n"),
  ]);
  return Buffer.concat([Buffer.from("!<arch>\n"), ...parts]);
}

const sizeOf = (entry: TarEntry): number =>
  "bytes" in entry ? Math.ceil(Buffer.byteLength(entry.bytes) / 1024) : 1;

const md5 = (bytes: Uint8Array | string): string => new Bun.CryptoHasher("md5").update(bytes).digest("hex");

function control({ name, version, architecture, description, conflicts, files }: DebPackage): string {
  const kilobytes = files.reduce((sum, entry) => sum + sizeOf(entry), 0);
  return [
    `Package: ${name}`,
    `Version: ${version}`,
    `Architecture: ${architecture}`,
    "Maintainer: The Heddle authors <heddle@example.invalid>",
    "Section: net",
    "Priority: optional",
    // The newest version of a symbol that the engine wants.
    "Depends: libc6 (>= 2.17)",
    "Recommends: nftables",
    "Suggests: iptables",
    "Provides: cni-plugins",
    ...(conflicts.length > 0 ? [`Conflicts: ${conflicts.join(", ")}`] : []),
    `Installed-Size: ${kilobytes}`,
    `Description: ${description}`,
    " One executable with every CNI plugin, a runtime for configuration lists and a DHCP",
    " daemon. It is in /opt/cni/bin, where container runtimes look for plugins.",
    "",
  ].join("\n");
}

const script = (name: string): TarEntry => ({
  path: `./${name}`,
  bytes: readFileSync(inProject("packaging/debian", name)),
  mode: 0o755,
});

/** The package as one file; the same package gives the same bytes. */
export function deb(of: DebPackage): Uint8Array {
  const sums = of.files.flatMap((e) => ("bytes" in e ? [`${md5(e.bytes)}  ${e.path}\n`] : [])).join("");
  const controls: readonly TarEntry[] = [
    { path: "./", directory: true },
    { path: "./control", bytes: control(of) },
    { path: "./md5sums", bytes: sums },
    ...["preinst", "postinst", "prerm", "postrm"].map(script),
  ];
  const files = of.files.map((entry) => ({ ...entry, path: `./${entry.path}` }));
  return ar([
    ["debian-binary", Buffer.from("2.0\n")],
    ["control.tar.gz", Bun.gzipSync(tar(controls), { level: 6 })],
    ["data.tar.gz", Bun.gzipSync(tar([{ path: "./", directory: true }, ...files]), { level: 6 })],
  ]);
}
