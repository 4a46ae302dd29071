/**
 * The contracts of stores and of registries with one real etcd, and what only etcd has: pages, other clients, users, TLS.
 * All of it runs in a namespace, on whose loopback the members are.
 */
import { describe, expect, test } from "bun:test";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { type EtcdOptions, openEtcd } from "../../src/fabric/store/etcd.ts";
import type { Kv } from "../../src/fabric/store/kv.ts";
import { parsePrefix } from "../../src/net/ip.ts";
import { etcdRegistryOf } from "../../src/providers/flannel/etcd-registry.ts";
import { openKvRegistry } from "../../src/providers/flannel/kv-registry.ts";
import type { LeaseNews } from "../../src/providers/flannel/registry.ts";
import { certificates, etcdTree, startEtcd } from "../../src/testing/etcd.ts";
import { insideNetns } from "../../src/testing/inside-netns.ts";
import { startProcess } from "../../src/testing/netns.ts";
import { codeOf } from "../../src/testing/failure.ts";
import { type KvSite, kvContract, Seen } from "../../src/testing/kv-contract.ts";
import {
  announcementOf,
  type RegistrySite,
  registryContract,
  Told,
} from "../../src/testing/registry-contract.ts";
import { plainEnv, run } from "../../src/testing/run.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";

/** Ports of the servers of this file, which may all run at once. */
const PORTS = {
  contract: 2379,
  registry: 2389,
  plain: 2399,
  users: 2409,
  tls: 2419,
  old: 2429,
  switchedOff: 2439,
};

async function server(port: number, options: Partial<Parameters<typeof startEtcd>[0]> = {}) {
  const temp = tempDir("etcd");
  const root = (await etcdTree()) ?? "";
  const cluster = await startEtcd({ root, dir: temp.path, port, ...options });
  const [member] = cluster.members;
  if (member === undefined) throw new Error("there is no member");
  const { url } = member;
  return {
    root,
    url,
    member,
    open: (more: Partial<EtcdOptions> = {}): Kv => openEtcd({ endpoints: [url], requestMs: 2000, ...more }),
    /** Asks as any other client does. */
    post: async (path: string, body: object): Promise<Record<string, unknown>> => {
      const response = await fetch(`${url}${path}`, { method: "POST", body: JSON.stringify(body) });
      if (!response.ok) throw new Error(`${path}: ${await response.text()}`);
      return (await response.json()) as Record<string, unknown>;
    },
    [Symbol.asyncDispose]: async (): Promise<void> => {
      await cluster[Symbol.asyncDispose]();
      temp[Symbol.dispose]();
    },
  };
}

async function contractSite(): Promise<KvSite> {
  const s = await server(PORTS.contract);
  return {
    open: s.open,
    compact: async () => {
      const kv = s.open();
      await kv.put("/elsewhere", "");
      const { revision } = await kv.list("/elsewhere");
      await s.post("/v3/kv/compaction", { revision: String(revision), physical: true });
      kv.close();
    },
    stop: s.member.kill,
    start: s.member.start,
    [Symbol.asyncDispose]: () => s[Symbol.asyncDispose](),
  };
}

async function registrySite(): Promise<RegistrySite> {
  const s = await server(PORTS.registry);
  const config = '{"Network":"10.1.0.0/16","Backend":{"Type":"vxlan"}}';
  const kv = s.open();
  await kv.put("/coreos.com/network/config", config);
  const network = parsePrefix("10.1.0.0/16");
  if (!network.ok) throw new Error(network.why);
  return {
    config,
    network: network.value,
    open: () => openKvRegistry({ kv: s.open(), checkSeconds: 0.2 }),
    spoil: async () => {
      await kv.put("/coreos.com/network/subnets/10.1.250.0-24", "{");
      return "10.1.250.0-24";
    },
    stop: s.member.kill,
    start: s.member.start,
    [Symbol.asyncDispose]: async () => {
      kv.close();
      await s[Symbol.asyncDispose]();
    },
  };
}

insideNetns(
  import.meta.path,
  {
    title: "one etcd in a namespace keeps the contracts, and pages, users and TLS are as they should be",
    prepare: async () => (await etcdTree()) !== undefined,
    timeoutMs: 120_000,
  },
  () => {
    kvContract("etcd", contractSite);
    registryContract("etcd", registrySite);
    describe("etcd", plainTests);
    describe("etcd with users", userTests);
    describe("etcd with TLS", tlsTests);
  },
);

function plainTests(): void {
  test("tells a list in pages, all of one moment", async () => {
    await using s = await server(PORTS.plain);
    const kv = s.open({ pageKeys: 3 });
    for (let n = 0; n < 10; n++) await kv.put(`/p/${n}`, "old");
    const writing = (async () => {
      const other = s.open();
      for (let n = 9; n >= 0; n--) await other.put(`/p/${n}`, "new");
      other.close();
    })();
    for (let isDone = false; !isDone;) {
      const { entries, revision } = await kv.list("/p/");
      const values = entries.map(({ value }) => value);
      expect(values).toHaveLength(10);
      // Written from the last to the first: of one moment, no old one stands behind a new one.
      expect(values.indexOf("new") < 0 || !values.slice(values.indexOf("new")).includes("old")).toBe(true);
      expect(Math.max(...entries.map((e) => e.revision))).toBeLessThanOrEqual(revision);
      isDone = values[0] === "new";
    }
    await writing;
    kv.close();
  });

  test("has one key of a host whose subnet no longer fits while it is held", async () => {
    await using s = await server(PORTS.plain);
    const kv = s.open();
    const configure = (length: number) =>
      kv.put("/coreos.com/network/config", `{"Network":"10.1.0.0/16","SubnetLen":${length}}`);
    await configure(24);
    const registry = openKvRegistry({ kv: s.open() });
    const former = await registry.acquire(announcementOf(0), undefined);
    const told = new Told<LeaseNews>((signal) => registry.hold(former, signal));
    await configure(26);
    const { node } = await registry.acquire(announcementOf(0), former.node.subnets);
    await told.end();
    expect(told.news).toEqual([]);
    const { entries } = await kv.list("/coreos.com/network/subnets/");
    expect(entries.map(({ key }) => key)).toEqual([`/coreos.com/network/subnets/${node.id}`]);
    registry.close();
    kv.close();
  });

  test("is one with what etcdctl reads and writes", async () => {
    await using s = await server(PORTS.plain);
    const etcdctl = async (...argv: readonly string[]): Promise<string> => {
      const env = { ...plainEnv, ETCDCTL_API: "3" };
      const command = [join(s.root, "usr/bin/etcdctl"), `--endpoints=${s.url}`, ...argv];
      return (await run(command, { env })).stdout;
    };
    await etcdctl("put", "/coreos.com/network/config", '{"Network":"10.1.0.0/16"}');
    const options = { kind: "etcd", endpoints: [s.url], prefix: "/coreos.com/network" } as const;
    const registry = etcdRegistryOf(options, 60);
    const { node } = await registry.acquire(announcementOf(0), undefined);
    const key = `/coreos.com/network/subnets/${node.id}`;
    expect(await etcdctl("get", key)).toBe(
      `${key}\n{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:00"}}\n`,
    );
    expect(await etcdctl("lease", "list")).toContain("found 1 leases");
    await registry.acquire(announcementOf(0, "02:00:00:00:00:aa"), undefined);
    registry.close();
    const again = etcdRegistryOf(options, 60);
    await again.acquire(announcementOf(0, "02:00:00:00:00:bb"), undefined);
    again.close();
    expect(await etcdctl("lease", "list")).toContain("found 1 leases");
  });

  test("put back from an older copy is another store to who watches", async () => {
    await using s = await server(PORTS.plain);
    const kv = s.open();
    for (let n = 0; n < 5; n++) await kv.put("/p/a", String(n));
    const { revision } = await kv.list("/p/");
    await using seen = new Seen(kv, "/p/", revision - 1);
    await seen.changes(1);
    await s.member.kill();
    s.member.wipe();
    await s.member.start();
    expect(await seen.end()).toMatchObject({ code: "store/compacted" });
    kv.close();
  });

  test("without its gateway is named as the reason", async () => {
    await using s = await server(PORTS.switchedOff, { flags: ["--enable-grpc-gateway=false"] });
    const kv = s.open();
    const e: unknown = await kv.get("a").catch((error: unknown) => error);
    expect(String(e)).toContain("has no JSON gateway");
    kv.close();
  });

  test("that has no space left says so", async () => {
    await using s = await server(PORTS.plain, { flags: ["--quota-backend-bytes=1000000"] });
    const kv = s.open();
    const writes = async (): Promise<void> => {
      for (let n = 0; n < 20; n++) await kv.put(`/p/${n}`, "x".repeat(200_000));
    };
    const e: unknown = await writes().catch((error: unknown) => error);
    expect(String(e)).toContain("database space exceeded");
    kv.close();
  });
}

function userTests(): void {
  const withUsers = async () => {
    const s = await server(PORTS.users, { flags: ["--bcrypt-cost=4", "--auth-token-ttl=1"] });
    const range = (key: string): object => ({
      key: Buffer.from(key).toString("base64"),
      range_end: Buffer.from(`${key.slice(0, -1)}0`).toString("base64"),
    });
    for (const name of ["root", "node"]) {
      await s.post("/v3/auth/user/add", { name, password: `${name}'s` });
      await s.post("/v3/auth/role/add", { name });
      await s.post("/v3/auth/user/grant", { user: name, role: name });
    }
    await s.post("/v3/auth/role/grant", { name: "node", perm: { permType: "READWRITE", ...range("/net/") } });
    await s.post("/v3/auth/role/grant", { name: "node", perm: { permType: "READ", ...range("/read/") } });
    await s.post("/v3/auth/enable", {});
    return s;
  };
  const node = { name: "node", password: "node's" };

  test("serves each what he may have", async () => {
    await using s = await withUsers();
    const kv = s.open({ user: node });
    expect(await kv.put("/net/a", "1")).toBeNumber();
    expect(await kv.put("/net/b", "1", { when: { absent: true } })).toBeNumber();
    expect((await kv.list("/net/")).entries).toHaveLength(2);
    expect((await kv.list("/read/")).entries).toEqual([]);
    expect(await codeOf(kv.put("/read/a", "1"))).toBe("store/denied");
    expect(await codeOf(kv.get("/other"))).toBe("store/denied");
    await using seen = new Seen(kv, "/other/", 1);
    expect(await seen.end()).toMatchObject({ code: "store/denied" });
    const lease = await kv.grant(60);
    await kv.put("/net/c", "1", { lease });
    expect(await kv.refresh(lease)).toBe(60);
    await kv.revoke(lease);
    expect(await kv.get("/net/c")).toBeUndefined();
    kv.close();
  });

  test("refuses who gives no name, and who gives a wrong password", async () => {
    await using s = await withUsers();
    for (const options of [
      {},
      { user: { name: "node", password: "x" } },
      { user: { name: "x", password: "x" } },
    ]) {
      const kv = s.open(options);
      expect(await codeOf(kv.get("/net/a"))).toBe("store/denied");
      expect(await codeOf(kv.put("/net/a", ""))).toBe("store/denied");
      kv.close();
    }
  });

  test("goes on when a token is no longer good, and a watch does", async () => {
    await using s = await withUsers();
    const kv = s.open({ user: node });
    const { revision } = await kv.list("/net/");
    await using seen = new Seen(kv, "/net/", revision);
    await kv.put("/net/a", "1");
    await seen.changes(1);
    // The members keep tokens in memory.
    await s.member.kill();
    await s.member.start();
    await kv.put("/net/a", "2");
    expect(await seen.changes(2)).toEqual(["/net/a=1", "/net/a=2"]);
    kv.close();
  });

  test("that are not switched on are no hindrance", async () => {
    await using s = await server(PORTS.plain);
    const kv = s.open({ user: node });
    expect(await kv.put("/net/a", "1")).toBeNumber();
    kv.close();
  });
}

function tlsTests(): void {
  test("serves who has a certificate of its authority, and believes nobody else", async () => {
    using temp = tempDir("tls");
    const [good, foreign] = [await certificates(temp.in("good")), await certificates(temp.in("foreign"))];
    await using s = await server(PORTS.tls, { tls: good });
    const files = { caFile: good.ca, certFile: good.cert, keyFile: good.key };
    const open = (tls: EtcdOptions["tls"], url = s.url): Kv =>
      s.open({ endpoints: [url], ...(tls && { tls }) });
    const kv = open(files);
    expect(await kv.put("/p/a", "1")).toBeNumber();
    await using seen = new Seen(kv, "/p/", 1);
    expect(await seen.changes(1)).toEqual(["/p/a=1"]);
    const strangers: readonly Kv[] = [
      open({ caFile: good.ca }),
      open({ caFile: good.ca, certFile: foreign.cert, keyFile: foreign.key }),
      open({ caFile: foreign.ca, certFile: good.cert, keyFile: good.key }),
      open({ certFile: good.cert, keyFile: good.key }),
      open(files, s.url.replace("127.0.0.1", "localhost")),
    ];
    for (const stranger of strangers) {
      for (let n = 0; n < 5; n++) expect(await codeOf(stranger.get("/p/a"))).toBe("store/unavailable");
      stranger.close();
    }
    kv.close();
  });

  test("takes certificates that were renewed without being started again", async () => {
    using temp = tempDir("tls");
    const [old, renewed] = [await certificates(temp.in("old")), await certificates(temp.in("new"))];
    const s = await server(PORTS.tls, { tls: old });
    const kv = s.open({ tls: { caFile: old.ca, certFile: old.cert, keyFile: old.key } });
    expect(await kv.put("/p/a", "1")).toBeNumber();
    await s[Symbol.asyncDispose]();
    for (const file of ["ca", "cert", "key"] as const) copyFileSync(renewed[file], old[file]);
    await using again = await server(PORTS.tls, { tls: old });
    expect(again.url).toBe(s.url);
    expect(await kv.put("/p/a", "2")).toBeNumber();
    kv.close();
  });

  test.each([
    ["tls1_1", "is refused", "PROTOCOL_VERSION"],
    ["tls1_2", "is spoken", "Parse Error"],
    ["tls1_3", "is spoken", "Parse Error"],
  ])("of the version %s %s", async (version, _what, outcome) => {
    using temp = tempDir("tls");
    const { ca, cert, key } = await certificates(temp.path);
    const listen = ["-accept", `127.0.0.1:${PORTS.old}`, "-cert", cert, "-key", key, "-rev"];
    const argv = ["openssl", "s_server", ...listen, `-${version}`, "-cipher", "ALL@SECLEVEL=0"];
    await using server = startProcess(argv);
    await server.printed("ACCEPT");
    const kv = openEtcd({ endpoints: [`https://127.0.0.1:${PORTS.old}`], tls: { caFile: ca } });
    const e: unknown = await kv.get("a").catch((error: unknown) => error);
    expect(String(e)).toContain(outcome);
    kv.close();
  });
}
