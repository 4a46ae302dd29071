/** A cluster for one test: an authority, a stand-in of the API server, and kubeconfigs for those who call it. */
import { certificateAuthority, type Authority, type Identity } from "../x509.ts";
import { type User } from "./access.ts";
import type { JsonObject } from "./json.ts";
import { type ApiServer, type ApiServerOptions, startApiServer } from "./server.ts";

export interface Cluster extends AsyncDisposable {
  readonly server: ApiServer;
  readonly authority: Authority;
  /** Who may do everything. */
  readonly admin: Identity;
  /** Tokens that are believed; more may be put in at any time. */
  readonly tokens: Map<string, User>;
}

export async function startCluster(
  options: Partial<Pick<ApiServerOptions, "host" | "port" | "store" | "bookmarkEveryMs">> = {},
): Promise<Cluster> {
  const authority = await certificateAuthority();
  const tokens = new Map<string, User>();
  const server = await startApiServer({
    ...options,
    identity: await authority.server([
      "kubernetes",
      "localhost",
      "127.0.0.1",
      "::1",
      options.host ?? "127.0.0.1",
    ]),
    clientAuthority: authority.certificate,
    tokens,
  });
  const admin = await authority.client("admin", ["system:masters"]);
  return { server, authority, admin, tokens, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");

/** The user part of a kubeconfig for a client certificate. */
export const userOf = (identity: Identity): JsonObject => ({
  "client-certificate-data": base64(identity.certificate),
  "client-key-data": base64(identity.key),
});

/** A kubeconfig as `kubectl config view --raw -o json` prints one; JSON is YAML too. */
export function kubeconfig(
  url: string,
  authority: string,
  user: JsonObject,
  cluster: JsonObject = {},
): string {
  return JSON.stringify(
    {
      apiVersion: "v1",
      kind: "Config",
      preferences: {},
      clusters: [
        {
          name: "test",
          cluster: { server: url, "certificate-authority-data": base64(authority), ...cluster },
        },
      ],
      users: [{ name: "somebody", user }],
      contexts: [{ name: "here", context: { cluster: "test", user: "somebody" } }],
      "current-context": "here",
    },
    undefined,
    2,
  );
}

/** A node as a kubelet registers it, its prefixes given by the cluster. */
export const nodeObject = (
  name: string,
  podCIDRs: readonly string[],
  metadata: JsonObject = {},
): JsonObject => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name, labels: { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" }, ...metadata },
  spec: podCIDRs.length === 0 ? {} : { podCIDR: podCIDRs[0] ?? "", podCIDRs },
  status: {
    addresses: [{ type: "Hostname", address: name }],
    conditions: [{ type: "Ready", status: "True", reason: "KubeletReady", message: "" }],
    nodeInfo: { kubeletVersion: "v1.36.0", osImage: "Debian", kernelVersion: "6.12" },
  },
});
