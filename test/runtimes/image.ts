/**
 * The image that the tests' containers run: a static busybox, a web page, and a page that tells who asks. One archive is
 * both an OCI layout and what `docker save` writes, so that every runtime can load it; nothing is downloaded.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { tar } from "./tar.ts";

/** The image's name, with a registry that cannot exist (RFC 6761). */
export const IMAGE = "registry.test/heddle:1";

/** What the container's web server runs as its process 1; the port is 80 unless another is given. */
export const SERVE: readonly string[] = ["/bin/httpd", "-f", "-h", "/www", "-p"];
/** The path of the page whose text is the address that asked. */
export const WHO = "/cgi-bin/who";

const APPLETS = ["sh", "cat", "echo", "hostname", "httpd", "ip", "ls", "nc", "ping", "sleep", "wget"];

/** The archive, with the busybox of this tree (`rootTree`). Its default command serves the page on port 80. */
export function busyboxImage(tree: string): Uint8Array {
  const layer = tar([
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
  ]);
  const architecture = process.arch === "arm64" ? "arm64" : "amd64";
  const config = Buffer.from(
    JSON.stringify({
      architecture,
      os: "linux",
      config: { Env: ["PATH=/bin"], Cmd: [...SERVE, "80"], WorkingDir: "/" },
      rootfs: { type: "layers", diff_ids: [digestOf(layer)] },
      history: [{ created: "1970-01-01T00:00:00Z", created_by: "heddle's tests" }],
    }),
  );
  const oci = "application/vnd.oci.image";
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: `${oci}.manifest.v1+json`,
      config: described(`${oci}.config.v1+json`, config),
      layers: [described(`${oci}.layer.v1.tar`, layer)],
    }),
  );
  const index = {
    schemaVersion: 2,
    mediaType: `${oci}.index.v1+json`,
    manifests: [
      {
        ...described(`${oci}.manifest.v1+json`, manifest),
        platform: { architecture, os: "linux" },
        annotations: { "io.containerd.image.name": IMAGE, "org.opencontainers.image.ref.name": "1" },
      },
    ],
  };
  return tar([
    { path: "blobs/", directory: true },
    { path: "blobs/sha256/", directory: true },
    ...[layer, config, manifest].map((bytes) => ({ path: blobPath(bytes), bytes })),
    { path: "oci-layout", bytes: JSON.stringify({ imageLayoutVersion: "1.0.0" }) },
    { path: "index.json", bytes: JSON.stringify(index) },
    {
      path: "manifest.json",
      bytes: JSON.stringify([{ Config: blobPath(config), RepoTags: [IMAGE], Layers: [blobPath(layer)] }]),
    },
  ]);
}

const digestOf = (bytes: Uint8Array): string =>
  `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
const blobPath = (bytes: Uint8Array): string => `blobs/${digestOf(bytes).replace(":", "/")}`;
const described = (mediaType: string, bytes: Uint8Array) => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
});
