/**
 * The image that the tests' containers run: a static busybox, a web page, and a page that tells who asks. One archive is
 * both an OCI layout and what `docker save` writes, so that every runtime can load it; nothing is downloaded.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { imageArchive } from "../../scripts/package/oci.ts";
import type { TarEntry } from "../../scripts/package/tar.ts";

/** The image's name, with a registry that cannot exist (RFC 6761). */
export const IMAGE = "registry.test/heddle:1";

/** What the container's web server runs as its process 1; the port is 80 unless another is given. */
export const SERVE: readonly string[] = ["/bin/httpd", "-f", "-h", "/www", "-p"];
/** The path of the page whose text is the address that asked. */
export const WHO = "/cgi-bin/who";

const APPLETS = ["sh", "cat", "echo", "hostname", "httpd", "ip", "ls", "nc", "ping", "sleep", "wget"];

/** The archive, with the busybox of this tree (`rootTree`). Its default command serves the page on port 80. */
export function busyboxImage(tree: string): Uint8Array {
  const files: readonly TarEntry[] = [
    { path: "bin/", directory: true },
    { path: "bin/busybox", bytes: readFileSync(join(tree, "usr/bin/busybox")), mode: 0o755 },
    ...APPLETS.map((name) => ({ path: `bin/${name}`, linkTo: "busybox" })),
    ...["etc/", "proc/", "sys/", "dev/", "tmp/", "run/", "www/", "www/cgi-bin/"].map((path) => ({
      path,
      directory: true as const,
    })),
    { path: "etc/passwd", bytes: "root:x:0:0:root:/:/bin/sh\n" },
    { path: "etc/group", bytes: "root:x:0:\n" },
    { path: "www/index.html", bytes: "served\n" },
    {
      path: `www${WHO}`,
      bytes: '#!/bin/sh\necho "Content-Type: text/plain"\necho\necho "$REMOTE_ADDR"\n',
      mode: 0o755,
    },
  ];
  return imageArchive({
    name: IMAGE,
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    files,
    config: { Env: ["PATH=/bin"], Cmd: [...SERVE, "80"], WorkingDir: "/" },
    by: "heddle's tests",
  });
}
