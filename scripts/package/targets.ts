/** The machines that packages are made for, and what each format calls them. */
import type { CrossTarget } from "../bun-for.ts";

export interface Target {
  /** What is compiled. */
  readonly build: CrossTarget;
  /** In the names of files. */
  readonly name: string;
  /** What Debian calls the machine; its packages are for glibc alone. */
  readonly debian?: "amd64" | "arm64";
  /** In Debian's name of the package: the same program for older processors. */
  readonly variant?: "baseline";
  /** What OCI calls the machine. */
  readonly oci: "amd64" | "arm64";
  readonly libc: "glibc" | "musl";
}

export const targets: readonly Target[] = [
  { build: "bun-linux-x64", name: "linux-x64", debian: "amd64", oci: "amd64", libc: "glibc" },
  {
    build: "bun-linux-x64-baseline",
    name: "linux-x64-baseline",
    debian: "amd64",
    variant: "baseline",
    oci: "amd64",
    libc: "glibc",
  },
  { build: "bun-linux-arm64", name: "linux-arm64", debian: "arm64", oci: "arm64", libc: "glibc" },
  { build: "bun-linux-x64-musl", name: "linux-x64-musl", oci: "amd64", libc: "musl" },
  { build: "bun-linux-x64-baseline-musl", name: "linux-x64-baseline-musl", oci: "amd64", libc: "musl" },
  { build: "bun-linux-arm64-musl", name: "linux-arm64-musl", oci: "arm64", libc: "musl" },
];

/** What this machine is, with glibc. */
export const ownTarget = (): Target => {
  const name = `linux-${process.arch}`;
  const own = targets.find((target) => target.name === name);
  if (own === undefined) throw new Error(`there are no packages for ${name}`);
  return own;
};
