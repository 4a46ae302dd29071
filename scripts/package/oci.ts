/**
 * An image as one archive that is both an OCI image layout (image-spec, image-layout.md) and what `docker save` writes, so
 * that every runtime can load it.
 */
import { type TarEntry, tar } from "./tar.ts";

export interface Image {
  /** With a registry and a tag: `registry.example/name:tag`. */
  readonly name: string;
  readonly architecture: "amd64" | "arm64";
  readonly files: readonly TarEntry[];
  /** What `docker run` and the like are told by the image: `Cmd`, `Entrypoint`, `Env`, `Labels`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Who made it, in its history. */
  readonly by: string;
}

const OCI = "application/vnd.oci.image";

export function imageArchive({ name, architecture, files, config: runConfig, by }: Image): Uint8Array {
  const layer = tar(files);
  const config = jsonBytes({
    architecture,
    os: "linux",
    config: runConfig,
    rootfs: { type: "layers", diff_ids: [digestOf(layer)] },
    history: [{ created: "1970-01-01T00:00:00Z", created_by: by }],
  });
  const manifest = jsonBytes({
    schemaVersion: 2,
    mediaType: `${OCI}.manifest.v1+json`,
    config: described(`${OCI}.config.v1+json`, config),
    layers: [described(`${OCI}.layer.v1.tar`, layer)],
  });
  const annotations = {
    "io.containerd.image.name": name,
    "org.opencontainers.image.ref.name": name.slice(name.lastIndexOf(":") + 1),
  };
  const entry = described(`${OCI}.manifest.v1+json`, manifest);
  const index = {
    schemaVersion: 2,
    mediaType: `${OCI}.index.v1+json`,
    manifests: [{ ...entry, platform: { architecture, os: "linux" }, annotations }],
  };
  const forDocker = [{ Config: blobPath(config), RepoTags: [name], Layers: [blobPath(layer)] }];
  return tar([
    { path: "blobs/", directory: true },
    { path: "blobs/sha256/", directory: true },
    ...[layer, config, manifest].map((bytes) => ({ path: blobPath(bytes), bytes })),
    { path: "oci-layout", bytes: JSON.stringify({ imageLayoutVersion: "1.0.0" }) },
    { path: "index.json", bytes: JSON.stringify(index) },
    { path: "manifest.json", bytes: JSON.stringify(forDocker) },
  ]);
}

const jsonBytes = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
const digestOf = (bytes: Uint8Array): string =>
  `sha256:${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}`;
const blobPath = (bytes: Uint8Array): string => `blobs/${digestOf(bytes).replace(":", "/")}`;
const described = (mediaType: string, bytes: Uint8Array) => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
});
