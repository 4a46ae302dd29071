import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { NetError } from "../../../errors.ts";
import { tempDir } from "../../../testing/temp-dir.ts";
import { clusterAccess, inCluster, parseKubeconfig } from "./access.ts";
import { readCredentials } from "./credentials.ts";

const config = (user: string, cluster = ""): string => `
apiVersion: v1
kind: Config
current-context: here
contexts:
  - {name: elsewhere, context: {cluster: other, user: other}}
  - {name: here, context: {cluster: mine, user: me}}
clusters:
  - name: mine
    cluster:
      server: https://api.test:6443
      ${cluster}
users:
  - name: me
    user:
      ${user}
`;

function failure(work: () => unknown): NetError {
  try {
    work();
  } catch (e) {
    if (e instanceof NetError) return e;
    throw e;
  }
  throw new Error("nothing failed");
}

describe("a kubeconfig", () => {
  test("names a server, an authority and a client certificate, in files beside it", () => {
    const access = parseKubeconfig(
      config(
        "client-certificate: me.crt\n      client-key: /keys/me.key",
        "certificate-authority: ca.crt\n      tls-server-name: kubernetes",
      ),
      "/etc/kube",
    );
    expect(access.server.href).toBe("https://api.test:6443/");
    expect(access).toMatchObject({
      serverName: "kubernetes",
      authority: { kind: "file", path: "/etc/kube/ca.crt" },
      client: {
        certificate: { kind: "file", path: "/etc/kube/me.crt" },
        key: { kind: "file", path: "/keys/me.key" },
      },
    });
    expect(access.token).toBeUndefined();
  });

  test("may hold what else stands in files", () => {
    const pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    const data = Buffer.from(pem).toString("base64");
    const access = parseKubeconfig(config("token: secret", `certificate-authority-data: ${data}`), "/");
    expect(access).toMatchObject({
      authority: { kind: "text", text: pem },
      token: { kind: "text", text: "secret" },
    });
    expect(readCredentials(access)).toEqual({ authority: pem, authorization: "Bearer secret" });
  });

  test("a token's file wins over a token", () => {
    const access = parseKubeconfig(config("tokenFile: token\n      token: old"), "/run");
    expect(access.token).toEqual({ kind: "file", path: "/run/token" });
  });

  test.each([
    ["certificates that are not checked", "token: a", "insecure-skip-tls-verify: true"],
    ["a proxy", "token: a", "proxy-url: http://proxy.test"],
    ["a program that fetches credentials", "exec: {command: aws, args: [token]}", ""],
    ["an old kind of provider", "auth-provider: {name: gcp}", ""],
    ["a password", "username: a\n      password: b", ""],
    ["being somebody else", "token: a\n      as: admin", ""],
  ])("%s are refused, and it is said why", (_what, user, cluster) => {
    expect(failure(() => parseKubeconfig(config(user, cluster), "/")).code).toBe("config/unsupported");
  });

  test("a program that fetches credentials is named, and what to do instead", () => {
    const error = failure(() => parseKubeconfig(config("exec: {command: aws}"), "/"));
    expect(error.message).toBe(
      "kubeconfig: exec = aws: programs that fetch credentials are not run; use a token, a token file or a client certificate",
    );
  });

  test.each([
    ["no YAML", "a: [", "the file"],
    ["no object", "- 1", "the file"],
    ["no context", "contexts: []", "current-context"],
    ["a context that is not there", "current-context: gone", "contexts"],
    ["a key without a certificate", config("client-key: a"), "client-certificate"],
    [
      "certificates that are none",
      config("token: a", "certificate-authority-data: aGk="),
      "certificate-authority-data",
    ],
    ["a token that is no text", config("token: [a]"), "token"],
    [
      "a server that is no URL",
      config("token: a").replace("https://api.test:6443", "'https://a b'"),
      "server",
    ],
    ["a server with a password in it", config("").replace("https://", "https://a:b@"), "server"],
  ])("with %s is refused by the name of the field", (_what, text, field) => {
    const error = failure(() => parseKubeconfig(text, "/"));
    expect(error.code).toBe("config/invalid");
    expect(error.message).toStartWith(`kubeconfig: ${field}: `);
  });

  test("sends no credentials without TLS", () => {
    const text = config("token: a").replace("https:", "http:");
    expect(failure(() => parseKubeconfig(text, "/")).message).toContain("https alone");
    expect(parseKubeconfig(config("").replace("https:", "http:"), "/").server.protocol).toBe("http:");
  });

  test("an address that is given takes the place of its server", () => {
    using dir = tempDir();
    writeFileSync(dir.in("config"), config("token: a"));
    const access = clusterAccess({ kubeconfig: dir.in("config"), apiUrl: "https://10.0.0.1:6443", env: {} });
    expect([access.server.host, access.token]).toEqual(["10.0.0.1:6443", { kind: "text", text: "a" }]);
    expect(failure(() => clusterAccess({ kubeconfig: dir.in("none"), env: {} })).code).toBe("sys/call");
  });
});

describe("a pod", () => {
  const env = { KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" };

  test("finds the server in its environment and the rest in files", () => {
    const access = clusterAccess({ env, serviceAccountDir: "/sa" });
    expect(access.server.href).toBe("https://10.96.0.1/");
    expect(access).toMatchObject({
      authority: { kind: "file", path: "/sa/ca.crt" },
      token: { kind: "file", path: "/sa/token" },
    });
  });

  test("may live in a cluster of IPv6", () => {
    const access = inCluster({ ...env, KUBERNETES_SERVICE_HOST: "fd00::1" }, "/sa");
    expect(access.server.href).toBe("https://[fd00::1]/");
  });

  test("that is none is told to name a kubeconfig", () => {
    expect(failure(() => clusterAccess({ env: {} })).message).toContain("name a kubeconfig");
  });

  test("shows the token that is in the file now", () => {
    using dir = tempDir();
    const access = inCluster(env, dir.path);
    expect(failure(() => readCredentials(access)).message).toContain(`${dir.path}/ca.crt cannot be read`);
    writeFileSync(dir.in("ca.crt"), "a certificate");
    for (const token of ["one", "two"]) {
      writeFileSync(dir.in("token"), `${token}\n`);
      expect(readCredentials(access).authorization).toBe(`Bearer ${token}`);
    }
    writeFileSync(dir.in("token"), "two\nlines");
    expect(failure(() => readCredentials(access)).code).toBe("store/denied");
    writeFileSync(dir.in("token"), "\n");
    expect(failure(() => readCredentials(access)).message).toContain("is empty");
  });
});
