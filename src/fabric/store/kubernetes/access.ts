/**
 * Where the API server is and how one says who one is: from a kubeconfig, or from what a pod finds in its environment and its
 * file system. What is here is what was said; files are read when a connection is made (`credentials.ts`).
 */
import { readFileSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { fromSystem, NetError } from "../../../errors.ts";
import { members, words } from "../shape.ts";

/** A text, or the file that holds it and may change. */
export type Material =
  { readonly kind: "text"; readonly text: string } | { readonly kind: "file"; readonly path: string };

export interface ClusterAccess {
  /** `https://HOST:PORT`, perhaps with a path below which the API is. */
  readonly server: URL;
  /** The name that the server's certificate has to have, if it is not the host of `server`. */
  readonly serverName?: string;
  /** Certificates in PEM that are trusted; absent: those of the system. */
  readonly authority?: Material;
  /** A client certificate and its key, in PEM. */
  readonly client?: { readonly certificate: Material; readonly key: Material };
  /** A bearer token. */
  readonly token?: Material;
}

/** Where a pod finds what it needs of its service account. */
export const SERVICE_ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount";

type Environment = Readonly<Record<string, string | undefined>>;

/** What says where the cluster is. With neither, it is the cluster that this process is a pod of. */
export interface AccessOptions {
  /** Path of a kubeconfig. */
  readonly kubeconfig?: string;
  /** Address of the API server; takes the place of the kubeconfig's. */
  readonly apiUrl?: string;
  readonly env: Environment;
  /** For tests. */
  readonly serviceAccountDir?: string;
}

/** @throws config/invalid, config/unsupported, env/invalid, sys/call: what is missing, and where */
export function clusterAccess(options: AccessOptions): ClusterAccess {
  const { kubeconfig = "", apiUrl = "", env } = options;
  if (kubeconfig !== "") {
    const access = parseKubeconfig(textOf(kubeconfig), dirname(kubeconfig), apiUrl !== "");
    return apiUrl === ""
      ? access
      : checked({ ...access, server: serverUrl(apiUrl, "the API server's address") });
  }
  if (apiUrl !== "") return checked({ server: serverUrl(apiUrl, "the API server's address") });
  return inCluster(env, options.serviceAccountDir ?? SERVICE_ACCOUNT_DIR);
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (e) {
    throw fromSystem(e);
  }
}

/** The access of a pod: two variables, and a token and a certificate in files that the kubelet renews. */
export function inCluster(env: Environment, dir: string): ClusterAccess {
  const host = env["KUBERNETES_SERVICE_HOST"] ?? "";
  const port = env["KUBERNETES_SERVICE_PORT"] ?? "";
  if (host === "" || port === "")
    throw new NetError("env/invalid", {
      variables: ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"],
      why: "are not set, as they are in a pod; outside of one name a kubeconfig",
    });
  return {
    server: serverUrl(
      `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
      "KUBERNETES_SERVICE_HOST",
    ),
    authority: { kind: "file", path: join(dir, "ca.crt") },
    token: { kind: "file", path: join(dir, "token") },
  };
}

const invalid = (field: string, why: string): never => {
  throw new NetError("config/invalid", { field: `kubeconfig: ${field}`, why });
};
const unsupported = (field: string, value: string, why: string): never => {
  throw new NetError("config/unsupported", { field: `kubeconfig: ${field}`, value, why });
};

/**
 * What the current context of a kubeconfig says. Relative paths are those of `directory`, where the file is.
 * @throws config/invalid, config/unsupported
 */
export function parseKubeconfig(text: string, directory: string, serverIsGiven = false): ClusterAccess {
  const config = documentOf(text);
  const current = words(config["current-context"]) ?? "";
  if (current === "") invalid("current-context", "is missing: kubectl config use-context sets it");
  const context = entryOf(config, "contexts", "context", current);
  const cluster = entryOf(config, "clusters", "cluster", named(context, "cluster", `context ${current}`));
  const user = entryOf(config, "users", "user", named(context, "user", `context ${current}`));
  refuseUnsupported(cluster, user);
  const material = (from: Fields, key: string): Material | undefined => materialOf(from, key, directory);
  const serverName = optional(cluster, "tls-server-name");
  const authority = material(cluster, "certificate-authority");
  const certificate = material(user, "client-certificate");
  const key = material(user, "client-key");
  if ((certificate === undefined) !== (key === undefined))
    invalid(
      certificate === undefined ? "client-certificate" : "client-key",
      "is missing: one needs the other",
    );
  const token = tokenOf(user, directory);
  const server = serverIsGiven
    ? new URL("https://127.0.0.1")
    : serverUrl(optional(cluster, "server") ?? invalid("server", "is missing"), "kubeconfig: server");
  const access = {
    server,
    ...(serverName === undefined ? {} : { serverName }),
    ...(authority === undefined ? {} : { authority }),
    ...(certificate === undefined || key === undefined ? {} : { client: { certificate, key } }),
    ...(token === undefined ? {} : { token }),
  };
  return serverIsGiven ? access : checked(access);
}

type Fields = Readonly<Record<string, unknown>>;

function documentOf(text: string): Fields {
  let found: unknown;
  try {
    found = Bun.YAML.parse(text);
  } catch (e) {
    invalid("the file", `is no YAML: ${e instanceof Error ? e.message : String(e)}`);
  }
  return members(found) ?? invalid("the file", "is no kubeconfig");
}

/** The entry of a list that has this name. */
function entryOf(config: Fields, list: string, key: string, name: string): Fields {
  const all = config[list];
  const entries: readonly unknown[] = Array.isArray(all) ? all : [];
  const found = entries.map(members).find((entry) => entry?.["name"] === name);
  if (found === undefined) return invalid(list, `has no entry called "${name}"`);
  return members(found[key]) ?? {};
}

/** A text that may be left out; an empty one is none. */
function optional(from: Fields, key: string): string | undefined {
  const value = from[key];
  if (value === undefined || value === null || value === "") return undefined;
  return words(value) ?? invalid(key, "must be a text");
}
const named = (from: Fields, key: string, of: string): string =>
  optional(from, key) ?? invalid(of, `names no ${key}`);

/** `KEY-data`, in base64, wins over `KEY`, a path. */
function materialOf(from: Fields, key: string, directory: string): Material | undefined {
  const data = optional(from, `${key}-data`);
  if (data !== undefined) {
    const text = Buffer.from(data, "base64").toString();
    if (!text.includes("-----BEGIN ")) invalid(`${key}-data`, "is not base64 of PEM");
    return { kind: "text", text };
  }
  const path = optional(from, key);
  return path === undefined ? undefined : fileAt(path, directory);
}

const fileAt = (path: string, directory: string): Material => ({
  kind: "file",
  path: isAbsolute(path) ? path : join(directory, path),
});

/** A file wins over a token in the kubeconfig itself: it is the one that is renewed. */
function tokenOf(user: Fields, directory: string): Material | undefined {
  const path = optional(user, "tokenFile");
  if (path !== undefined) return fileAt(path, directory);
  const text = optional(user, "token");
  return text === undefined ? undefined : { kind: "text", text };
}

function refuseUnsupported(cluster: Fields, user: Fields): void {
  if (cluster["insecure-skip-tls-verify"] === true)
    unsupported(
      "insecure-skip-tls-verify",
      "true",
      "anybody in between could take the credentials; name the certificate in certificate-authority",
    );
  if (optional(cluster, "proxy-url") !== undefined)
    unsupported("proxy-url", String(cluster["proxy-url"]), "the API server is reached directly");
  const exec = members(user["exec"]);
  if (exec !== undefined)
    unsupported(
      "exec",
      String(exec["command"]),
      "programs that fetch credentials are not run; use a token, a token file or a client certificate",
    );
  if (members(user["auth-provider"]) !== undefined)
    unsupported("auth-provider", "…", "use a token, a token file or a client certificate");
  for (const key of ["username", "password"])
    if (optional(user, key) !== undefined)
      unsupported(key, "…", "no API server takes passwords any longer; use a token or a client certificate");
  for (const key of ["as", "as-uid"])
    if (optional(user, key) !== undefined) unsupported(key, String(user[key]), "nobody is impersonated");
}

function serverUrl(text: string, field: string): URL {
  const wrong = (why: string): never => {
    throw new NetError("config/invalid", { field, why });
  };
  const url = URL.parse(text.includes("://") ? text : `https://${text}`);
  if (url === null) return wrong(`"${text}" is no URL`);
  if (url.protocol !== "https:" && url.protocol !== "http:") return wrong(`${url.protocol} is not https`);
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "")
    return wrong(`"${text}" is more than an address and a path`);
  return url;
}

/** Without TLS nothing that is secret is sent; kubectl's proxy on this host needs nothing. */
function checked(access: ClusterAccess): ClusterAccess {
  const { server } = access;
  if (server.protocol === "https:") return access;
  if (access.token !== undefined || access.client !== undefined)
    throw new NetError("config/unsupported", {
      field: "the API server's address",
      value: server.href,
      why: "credentials are sent over https alone",
    });
  return access;
}
