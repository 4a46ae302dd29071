import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { readFileSync } from "node:fs";
import { isNetError } from "../../errors.ts";
import { type FlagName, flagNames, flags, usage, variableOf, variables } from "./flags.ts";
import { type FlanneldOptions, parseFlanneld } from "./options.ts";

type Env = Readonly<Record<string, string>>;
const inPod: Env = { POD_NAME: "kube-flannel-x", POD_NAMESPACE: "kube-flannel" };

function run(args: readonly string[], env: Env = {}): FlanneldOptions {
  const call = parseFlanneld(args, env);
  if (call.kind !== "run") throw new Error(call.kind);
  return call.options;
}
const notes = (args: readonly string[], env: Env = {}): readonly string[] => {
  const call = parseFlanneld(args, env);
  return call.kind === "run" ? call.notes : [];
};

describe("the options of flanneld", () => {
  test("have its defaults", () => {
    expect(run([])).toEqual({
      store: {
        kind: "etcd",
        endpoints: ["http://127.0.0.1:4001", "http://127.0.0.1:2379"],
        prefix: "/coreos.com/network",
      },
      external: { names: [], patterns: [], publics: {} },
      subnetFile: "/run/flannel/subnet.env",
      renewMarginMinutes: 60,
      acceptForwarded: true,
      blackholeRoute: false,
      resyncSeconds: 5,
      verbosity: 0,
      wireguardKeyFile: "/run/flannel/wgkey",
    });
  });

  test("are those of the DaemonSet of its manifest", () => {
    const { store, masquerade, health } = run(["--ip-masq", "--kube-subnet-mgr", "--healthz-port=8081"], {
      ...inPod,
      EVENT_QUEUE_DEPTH: "5000",
      CONT_WHEN_CACHE_NOT_READY: "false",
    });
    expect(masquerade).toEqual({ fullyRandom: true });
    expect(health).toEqual({ host: "0.0.0.0", port: 8081 });
    expect(store).toEqual({
      kind: "kubernetes",
      annotationPrefix: "flannel.alpha.coreos.com",
      netConfigPath: "/etc/kube-flannel/net-conf.json",
      setNodeNetworkUnavailable: true,
      node: { pod: "kube-flannel-x", namespace: "kube-flannel" },
    });
  });

  test("of etcd take endpoints, files and a user", () => {
    const { store } = run([
      "--etcd-endpoints=https://192.0.2.1:2379,192.0.2.2:2379,https://[fd00::1]:2379/",
      "--etcd-prefix=/other",
      "--etcd-keyfile=/k",
      "--etcd-certfile=/c",
      "--etcd-cafile=/a",
      "--etcd-username=u",
      "--etcd-password=p=q",
    ]);
    expect(store).toEqual({
      kind: "etcd",
      endpoints: ["https://192.0.2.1:2379", "http://192.0.2.2:2379", "https://[fd00::1]:2379"],
      prefix: "/other",
      client: { keyFile: "/k", certFile: "/c" },
      caFile: "/a",
      login: { username: "u", password: "p=q" },
    });
  });

  test("of Kubernetes take an address, a file and the node's name", () => {
    const { store } = run(
      [
        "--kube-subnet-mgr",
        "--kube-api-url=https://192.0.2.1:6443",
        "--kubeconfig-file=/kc",
        "--kube-annotation-prefix=example.com/x",
        "--net-config-path=/nc",
        "--set-node-network-unavailable=false",
      ],
      { ...inPod, NODE_NAME: "node1" },
    );
    expect(store).toEqual({
      kind: "kubernetes",
      apiUrl: "https://192.0.2.1:6443",
      kubeconfigFile: "/kc",
      annotationPrefix: "example.com/x",
      netConfigPath: "/nc",
      setNodeNetworkUnavailable: false,
      node: { name: "node1" },
    });
  });

  test("of the interface keep their order, and tell addresses from names", () => {
    const { external } = run([
      "--iface=eth1",
      "--iface=192.0.2.7",
      "--iface-regex=^eth",
      "--iface-regex=10\\.0\\..*",
      "--iface-can-reach=192.0.2.1",
      "--public-ip=203.0.113.7",
      "--public-ipv6=2001:db8::7",
    ]);
    expect(external.names.map((name) => (typeof name === "string" ? name : name.text))).toEqual([
      "eth1",
      "192.0.2.7",
    ]);
    expect(external.names.map((name) => typeof name)).toEqual(["string", "object"]);
    expect(external.patterns.map((p) => [p.test("eth0"), p.test("10.0.3.4"), p.test("1090.3")])).toEqual([
      [true, false, false],
      [false, true, false],
    ]);
    expect(external.canReach?.text).toBe("192.0.2.1");
    expect([external.publics.v4?.text, external.publics.v6?.text]).toEqual(["203.0.113.7", "2001:db8::7"]);
  });

  test.each([
    ["(?i)ETH", "eth0", true],
    ["eth\\-0", "eth-0", true],
    ["[\\.\\-]", "a-b", true],
    ["\\d+$", "eth12", true],
    ["a\\\\b", "a\\b", true],
    ["^wlan", "eth0", false],
  ])("read the expression %s as Go does", (source, name, fits) => {
    expect(run([`--iface-regex=${source}`]).external.patterns[0]?.test(name)).toBe(fits);
  });
});

describe("a flag", () => {
  test.each([
    [["-public-ip=192.0.2.1"]],
    [["--public-ip=192.0.2.1"]],
    [["-public-ip", "192.0.2.1"]],
    [["--public-ip", "192.0.2.1"]],
    [["--public-ip=198.51.100.1", "--public-ip=192.0.2.1"]],
  ])("is read from %j", (args) => {
    expect(run(args).external.publics.v4?.text).toBe("192.0.2.1");
  });

  test.each([
    ["1", true],
    ["T", true],
    ["True", true],
    ["0", false],
    ["FALSE", false],
  ])("that is a switch takes %s", (word, value) => {
    expect(run([`-ip-masq=${word}`]).masquerade !== undefined).toBe(value);
  });

  test("is asked for by -h, -help and --help; the version by its own", () => {
    for (const word of ["-h", "-help", "--help"])
      expect(parseFlanneld([word, "--iface"], {})).toEqual({ kind: "help" });
    expect(parseFlanneld(["--version"], {}).kind).toBe("version");
    expect(parseFlanneld(["--version=false"], {}).kind).toBe("run");
    expect(parseFlanneld([], { FLANNELD_VERSION: "true" }).kind).toBe("run");
  });

  /** For each flag a value that changes the result or adds a note, what must stand beside it, and beside none. */
  const other: {
    readonly [F in FlagName]: readonly [
      value: string,
      besides?: readonly string[],
      without?: readonly string[],
    ];
  } = {
    "etcd-endpoints": ["http://192.0.2.1:1"],
    "etcd-prefix": ["/x"],
    "etcd-keyfile": ["/k", ["--etcd-certfile=/c"], []],
    "etcd-certfile": ["/c", ["--etcd-keyfile=/k"], []],
    "etcd-cafile": ["/a"],
    "etcd-username": ["u"],
    "etcd-password": ["p", ["--etcd-username=u"]],
    iface: ["eth9"],
    "iface-regex": ["eth"],
    "iface-can-reach": ["192.0.2.1"],
    "public-ip": ["192.0.2.1"],
    "public-ipv6": ["2001:db8::1"],
    "subnet-file": ["/x"],
    "subnet-lease-renew-margin": ["61"],
    "ip-masq": ["true"],
    "ip-masq-fully-random-disable": ["true", ["--ip-masq"]],
    "iptables-resync": ["6"],
    "iptables-forward-rules": ["false"],
    "ip-blackhole-route": ["true"],
    "kube-subnet-mgr": ["true"],
    "kube-api-url": ["https://192.0.2.1", ["--kube-subnet-mgr"]],
    "kubeconfig-file": ["/x", ["--kube-subnet-mgr"]],
    "kube-annotation-prefix": ["example.com", ["--kube-subnet-mgr"]],
    "net-config-path": ["/x", ["--kube-subnet-mgr"]],
    "set-node-network-unavailable": ["false", ["--kube-subnet-mgr"]],
    "healthz-ip": ["127.0.0.1", ["--healthz-port=1"]],
    "healthz-port": ["1"],
    version: ["true"],
    v: ["2"],
    vmodule: ["main=2"],
    log_backtrace_at: ["main.go:1"],
  };

  test.each(flagNames.filter((name) => name !== "version"))(
    "--%s does the same from its variable",
    (name) => {
      const [value, besides = [], without = besides] = other[name];
      const [plain, byFlag, byVariable] = [
        parseFlanneld(without, inPod),
        parseFlanneld([...besides, `--${name}=${value}`], inPod),
        parseFlanneld(besides, { ...inPod, [variableOf(name)]: value }),
      ];
      expect(byVariable).toEqual(byFlag);
      expect(Bun.deepEquals(plain, byFlag)).toBe(false);
      const both = { ...inPod, [variableOf(name)]: "nothing that is right" };
      expect(parseFlanneld([...besides, `--${name}=${value}`], both)).toEqual(byFlag);
      const said = byFlag.kind === "run" ? byFlag.notes : [];
      expect(said.length > 0).toBe("withoutEffect" in flags[name]);
    },
  );

  test.each<[string, readonly string[], Env, string]>([
    ["that is none", ["--network=x"], {}, "flanneld has no flag --network"],
    [
      "with a word behind a switch",
      ["--ip-masq", "true"],
      {},
      '"true" is not a flag; a switch takes its value',
    ],
    ["without its value", ["--iface"], {}, "--iface: needs a value"],
    ["of a dash alone", ["-"], {}, '"-" is not a flag'],
    ["of two dashes alone", ["--"], {}, '"--" is not a flag'],
    ["of three dashes", ["---v=1"], {}, '"---v=1" is not a flag'],
    ["with a switch in words", ["--ip-masq=yes"], {}, '--ip-masq: "yes" is neither true nor false'],
    ["with a number in words", ["--healthz-port=many"], {}, '--healthz-port: "many" is not a whole number'],
    [
      "with a port beyond 65535",
      ["--healthz-port=65536"],
      {},
      "--healthz-port: 65536 is not within 0 and 65535",
    ],
    [
      "with a margin of nothing",
      ["--subnet-lease-renew-margin=0"],
      {},
      "--subnet-lease-renew-margin: 0 is not within",
    ],
    [
      "with a margin of a day",
      ["--subnet-lease-renew-margin=1440"],
      {},
      "--subnet-lease-renew-margin: 1440 is not",
    ],
    ["with a look without a pause", ["--iptables-resync=0"], {}, "--iptables-resync: 0 is not within"],
    ["with an address that is none", ["--public-ip=host"], {}, '--public-ip: "host" is not an IP address'],
    ["with an address of IPv6", ["--public-ip=::1"], {}, "--public-ip: ::1 is not of IPv4"],
    ["with an expression that is none", ["--iface-regex=("], {}, '--iface-regex: "(" cannot be read'],
    ["with a class of POSIX", ["--iface-regex=[[:alpha:]]"], {}, "--iface-regex: "],
    ["with a letter of RE2", ["--iface-regex=(?U)a+"], {}, "--iface-regex: "],
    ["with an anchor of RE2", ["--iface-regex=\\Aeth"], {}, "--iface-regex: "],
    ["with a key without a certificate", ["--etcd-keyfile=/k"], {}, "--etcd-certfile: is missing"],
    ["with a password without a user", ["--etcd-password=p"], {}, "--etcd-username: is missing"],
    [
      "with an endpoint that is none",
      ["--etcd-endpoints=ftp://x"],
      {},
      '--etcd-endpoints: "ftp://x" is no address',
    ],
    ["with an empty endpoint", ["--etcd-endpoints=http://a:1,"], {}, '--etcd-endpoints: "" is no address'],
    ["for Kubernetes without a node", ["--kube-subnet-mgr"], {}, "--kube-subnet-mgr: needs NODE_NAME"],
    ["in a variable", [], { FLANNELD_PUBLIC_IP: "x" }, '--public-ip: "x" is not an IP address'],
  ])("%s is refused", (_what, args, env, why) => {
    try {
      parseFlanneld(args, env);
      throw new Error("accepted");
    } catch (e) {
      if (!isNetError(e, "usage/invalid")) throw e;
      expect(e.message).toStartWith(why);
    }
  });

  test("that has no effect is told, and so is a variable of no flag", () => {
    expect(
      notes(["--vmodule=main=2"], { ACCESS_KEY_ID: "x", FLANNELD_COLOUR: "red", FLANNELD_V: "" }),
    ).toEqual([
      "--vmodule has no effect: names source files of flanneld, which are not here",
      "ACCESS_KEY_ID has no effect: for the backend tencent-vpc, which is refused",
      "FLANNELD_COLOUR has no effect: flanneld has no such flag",
    ]);
  });
});

test("the usage text names every flag with its default", () => {
  const text = usage("heddle flanneld");
  for (const name of flagNames) expect(text).toContain(`  --${name}`);
  expect(text).toContain("default /coreos.com/network");
});

describe("the manual's page", () => {
  const page = readFileSync(join(import.meta.dir, "../../../docs/providers/flannel.md"), "utf8");
  const rows = page.split("\n").map((line) => line.split("|").map((cell) => cell.trim()));
  const stateOf = (entry: object): string =>
    "withoutEffect" in entry ? `without effect: ${String(entry.withoutEffect)}` : "works";

  test("has a row for each flag with its default and its state", () => {
    const found = rows.flatMap(([, name, value, state]) =>
      name?.startsWith("`--") ? [[name, value, state]] : [],
    );
    const code = (word: string): string => (word === "" ? "" : `\`${word}\``);
    expect(found).toEqual(
      flagNames.map((name) => [`\`--${name}\``, code(flags[name].default), stateOf(flags[name])]),
    );
  });

  test("has a row for each variable with its state", () => {
    const found = rows.flatMap(([, name, state]) =>
      /^`[A-Z_]{6,}`$/.test(name ?? "") ? [[name, state]] : [],
    );
    expect(found).toEqual(Object.entries(variables).map(([name, entry]) => [`\`${name}\``, stateOf(entry)]));
  });
});
