import { describe, expect, test } from "bun:test";
import { failureOf } from "../../errors.ts";
import { readAgentConfig } from "./config.ts";
import { runWithConfig } from "./run.ts";

const read = (config: object | string, files: Readonly<Record<string, string>> = {}) =>
  readAgentConfig(
    typeof config === "string" ? config : JSON.stringify(config),
    (path) => files[path] ?? "",
    "thishost",
  );
const file = { type: "file", dir: "/var/lib/heddle/fabric" };
const why = (config: object | string): string => {
  try {
    read(config);
    return "accepted";
  } catch (e) {
    return e instanceof Error ? e.message : String(e);
  }
};

describe("the agent's configuration", () => {
  test("needs a store and nothing else", () => {
    const { node, flannel, api, http, log } = read({ store: file });
    expect(node).toBe("thishost");
    expect(flannel.store).toEqual({ kind: "file", dir: file.dir, prefix: "/coreos.com/network" });
    expect(flannel).toMatchObject({
      subnetFile: "/run/flannel/subnet.env",
      renewMarginMinutes: 60,
      acceptForwarded: true,
      blackholeRoute: false,
      resyncSeconds: 5,
    });
    expect(flannel.masquerade).toBeUndefined();
    expect(api).toEqual({ socket: "/run/heddle-agent/agent.sock" });
    expect(http).toBeUndefined();
    expect(log).toEqual({ format: "text", least: "info", changes: false });
  });

  test("takes everything that flanneld has a flag for", () => {
    const { flannel, http, api } = read({
      store: file,
      interface: { names: ["eth1", "192.0.2.1"], canReach: "192.0.2.9" },
      publicIP: "198.51.100.1",
      masquerade: true,
      fullyRandom: false,
      renewMarginMinutes: 5,
      http: { port: 9100 },
      api: { socket: "/run/x.sock", group: "heddle" },
    });
    expect(flannel.masquerade).toEqual({ fullyRandom: false });
    expect(flannel.external.names[0]).toBe("eth1");
    expect(flannel.external.publics.v4?.text).toBe("198.51.100.1");
    expect(http).toEqual({ host: "127.0.0.1", port: 9100 });
    expect(api).toEqual({ socket: "/run/x.sock", group: "heddle" });
  });

  test("keeps etcd's password in a file of its own", () => {
    const store = {
      type: "etcd",
      endpoints: ["https://192.0.2.5:2379", "https://192.0.2.6:2379"],
      caFile: "/etc/heddle/ca.pem",
      username: "heddle",
      passwordFile: "/etc/heddle/password",
    };
    expect(read({ store }, { "/etc/heddle/password": "secret\n" }).flannel.store).toEqual({
      kind: "etcd",
      endpoints: ["https://192.0.2.5:2379", "https://192.0.2.6:2379"],
      prefix: "/coreos.com/network",
      caFile: "/etc/heddle/ca.pem",
      login: { username: "heddle", password: "secret" },
    });
  });

  test("names the node of Kubernetes as the host", () => {
    expect(read({ node: "worker1", store: { type: "kubernetes" } }).flannel.store).toMatchObject({
      kind: "kubernetes",
      node: { name: "worker1" },
      annotationPrefix: "flannel.alpha.coreos.com",
    });
  });

  test.each([
    ["a key that is misspelt", { store: file, masqerade: true }, 'did you mean "masquerade"?'],
    [
      "a key that is misspelt below another",
      { store: file, log: { fromat: "json" } },
      'did you mean "format"?',
    ],
    ["a key of another store", { store: { ...file, endpoints: [] } }, "store.endpoints is not a key"],
    ["no store", {}, "store is missing"],
    ["another store", { store: { type: "consul" } }, "store.type"],
    ["a relative path", { store: { type: "file", dir: "store" } }, "store.dir must be an absolute path"],
    ["text for a number", { store: file, renewMarginMinutes: "60" }, "renewMarginMinutes"],
    ["a number out of its range", { store: file, renewMarginMinutes: 1440 }, "not within 1 and 1439"],
    [
      "a certificate without its key",
      { store: { type: "etcd", endpoints: ["a:1"], certFile: "/c" } },
      "keyfile",
    ],
    ["broken JSON", "{", "the agent's configuration"],
    ["a list", "[]", "must be an object"],
  ])("refuses %s", (_, config, expected) => {
    expect(why(config)).toContain(expected);
  });
});

test("a configuration file that is not there is a mistake on the command line, and said so", async () => {
  const failure = await failureOf(() => runWithConfig("/nowhere/agent.json"));
  expect(failure).toMatchObject({ code: "usage/invalid", message: "there is no file /nowhere/agent.json" });
});
