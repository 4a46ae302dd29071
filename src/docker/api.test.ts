/** Every call without a kernel: what is answered, what is remembered, and what is asked of children. */
import { describe, expect, test } from "bun:test";
import { readdirSync, statSync, writeFileSync } from "node:fs";
import { cidr } from "../testing/address.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { handle } from "./api.ts";
import { type Book, openBook } from "./book.ts";
import type { RunTask } from "./children.ts";
import type { TakenPort } from "./ports.ts";
import { openStore } from "./store.ts";
import type { Task } from "./task.ts";

const NET = "ab".repeat(32);
const PORTMAP = "com.docker.network.portmap";

interface Desk extends Disposable {
  readonly dir: string;
  readonly tasks: Task[];
  readonly log: string[];
  book(): Book;
  /** What the next tasks fail with. */
  failWith(why: string | undefined): void;
  listening: readonly TakenPort[];
  /** Another process opens the same directory. */
  reopen(): void;
  ask(path: string, request?: object): Promise<Record<string, unknown>>;
}

function desk(): Desk {
  const stack = new DisposableStack();
  const dir = stack.use(tempDir("docker-state"));
  const tasks: Task[] = [];
  const log: string[] = [];
  let failure: string | undefined;
  const run: RunTask = (task) => {
    tasks.push(task);
    if (failure !== undefined) return Promise.resolve({ kind: "failed", why: failure });
    return Promise.resolve({ kind: "done", ...(task.kind === "endpoint" ? { link: "hdl0" } : {}) });
  };
  let store = openStore(dir.path);
  stack.defer(() => store[Symbol.dispose]());
  const self: { listening: readonly TakenPort[] } = { listening: [] };
  const host = {
    uplink: () => "up0",
    routed: () => [cidr("10.213.0.0/24")],
    listening: () => self.listening,
  };
  const open = (): Book => openBook({ store, run, host, log: (line) => log.push(line), tell: () => {} });
  let book = open();
  return Object.assign(self, {
    dir: dir.path,
    tasks,
    log,
    book: () => book,
    failWith: (why: string | undefined) => void (failure = why),
    reopen: () => {
      store[Symbol.dispose]();
      store = openStore(dir.path);
      book = open();
    },
    ask: async (path: string, request?: object) => {
      const body = request === undefined ? "" : JSON.stringify(request);
      return (await handle(book, { method: "POST", path: `/${path}`, body })).body as Record<string, unknown>;
    },
    [Symbol.dispose]: () => stack.dispose(),
  });
}

const network = (options: object = {}, more: object = {}) => ({
  NetworkID: NET,
  Options: { "com.docker.network.generic": options },
  IPv4Data: [{ Pool: "10.7.0.0/24", Gateway: "10.7.0.1/24" }],
  ...more,
});
const key = { NetworkID: NET, EndpointID: "e1" };
const endpoint = (face: object = { Address: "10.7.0.2/24" }, id = "e1") => ({
  NetworkID: NET,
  EndpointID: id,
  Interface: face,
});
const ports = (...hostPorts: readonly number[]) => ({
  Options: {
    [PORTMAP]: hostPorts.map((HostPort) => ({ Proto: 6, Port: 80, HostPort, HostPortEnd: HostPort })),
  },
});
const N = "NetworkDriver";
const I = "IpamDriver";

describe("calls about the driver", () => {
  test("say what it is", async () => {
    using on = desk();
    expect(await on.ask("Plugin.Activate")).toEqual({ Implements: ["NetworkDriver", "IpamDriver"] });
    expect(await on.ask(`${N}.GetCapabilities`, {})).toEqual({
      Scope: "local",
      ConnectivityScope: "local",
      GwAllocChecker: true,
    });
    expect(await on.ask(`${I}.GetCapabilities`)).toEqual({
      RequiresMACAddress: false,
      RequiresRequestReplay: false,
    });
    expect(await on.ask(`${I}.GetDefaultAddressSpaces`)).toEqual({
      LocalDefaultAddressSpace: "heddle-local",
      GlobalDefaultAddressSpace: "heddle-global",
    });
    const node = { DiscoveryType: 1, DiscoveryData: { Address: "192.0.2.1", BindAddress: "", Self: true } };
    expect(await on.ask(`${N}.DiscoverNew`, node)).toEqual({});
    expect(await on.ask(`${N}.DiscoverDelete`, node)).toEqual({});
    expect((await on.ask(`${N}.AllocateNetwork`, network()))["Err"]).toContain("without --scope swarm");
    expect(await on.ask(`${N}.FreeNetwork`, { NetworkID: NET })).toEqual({});
  });

  test("tell when no address is needed for a gateway", async () => {
    using on = desk();
    const check = (options: object) =>
      on.ask(`${N}.GwAllocCheck`, { Options: { "com.docker.network.generic": options } });
    expect(await check({})).toEqual({ SkipIPv4: false, SkipIPv6: false });
    expect(await check({ mode: "ipvlan", ipvlan_mode: "l3" })).toEqual({ SkipIPv4: true, SkipIPv6: true });
    expect((await check({ ipvlan_mode: "l4" }))["Err"]).toContain("is not one of l2, l3, l3s");
  });

  test("that there are not, or not in this way, are refused", async () => {
    using on = desk();
    const reply = (method: string, path: string, body = "") => handle(on.book(), { method, path, body });
    expect((await reply("POST", "/NetworkDriver.Nonsense")).status).toBe(404);
    expect((await reply("POST", "/constructor")).status).toBe(404);
    expect((await reply("GET", "/Plugin.Activate")).status).toBe(405);
    for (const body of ["{", "[]", '"text"', "1", "[".repeat(100)])
      expect((await reply("POST", "/NetworkDriver.Join", body)).status).toBe(400);
  });

  test("that Docker asks again and has lost are told from bad ones", async () => {
    using on = desk();
    expect((await on.ask(`${N}.Join`))["Err"]).toContain("Docker lost this request");
    expect((await on.ask(`${I}.RequestAddress`))["Error"]).toContain("try again");
  });

  test("of the IPAM driver fail under another key", async () => {
    using on = desk();
    expect(await on.ask(`${I}.RequestAddress`, {})).toEqual({ Error: "PoolID: is missing" });
    expect(await on.ask(`${N}.Join`, {})).toEqual({ Err: "NetworkID: is missing" });
  });
});

describe("a network", () => {
  test("is made once, and again if Docker asks again", async () => {
    using on = desk();
    expect(await on.ask(`${N}.CreateNetwork`, network())).toEqual({});
    expect(await on.ask(`${N}.CreateNetwork`, network())).toEqual({});
    expect((await on.ask(`${N}.CreateNetwork`, network({ routes: "10.5.0.0/16" })))["Err"]).toContain(
      "other options",
    );
    expect(on.tasks.map((t) => t.kind)).toEqual(["network", "network"]);
  });

  test("that could not be made is not remembered, and one that was is after a restart", async () => {
    using on = desk();
    on.failWith("no");
    expect(await on.ask(`${N}.CreateNetwork`, network())).toEqual({ Err: "no" });
    on.failWith(undefined);
    on.reopen();
    expect((await on.ask(`${N}.CreateEndpoint`, endpoint()))["Err"]).toContain("there is no network");
    await on.ask(`${N}.CreateNetwork`, network());
    on.reopen();
    expect((await on.ask(`${N}.CreateEndpoint`, endpoint()))["Err"]).toBeUndefined();
  });

  test("without a parent gets the uplink, and keeps it", async () => {
    using on = desk();
    await on.ask(`${N}.CreateNetwork`, network({ mode: "macvlan" }));
    expect(JSON.stringify(on.tasks[0])).toContain('"parent":"up0"');
  });

  test("does not take another one's bridge or VLAN", async () => {
    using on = desk();
    const other = { ...network(), NetworkID: "cd".repeat(32) };
    const named = { "com.docker.network.bridge.name": "web0" };
    await on.ask(`${N}.CreateNetwork`, network(named));
    const same = { ...other, Options: { "com.docker.network.generic": named } };
    expect((await on.ask(`${N}.CreateNetwork`, same))["Err"]).toContain(
      "has web0 already; choose another one",
    );
    expect(await on.ask(`${N}.CreateNetwork`, other)).toEqual({});
  });

  test("is removed with what it has left, and also if nobody knows it", async () => {
    using on = desk();
    await on.ask(`${N}.CreateNetwork`, network());
    await on.ask(`${N}.CreateEndpoint`, endpoint());
    on.failWith("busy");
    expect(await on.ask(`${N}.DeleteNetwork`, { NetworkID: NET })).toEqual({ Err: "busy" });
    on.failWith(undefined);
    expect(await on.ask(`${N}.DeleteNetwork`, { NetworkID: NET })).toEqual({});
    expect(on.tasks.at(-1)).toMatchObject({
      kind: "remove",
      what: [{ what: "ports" }, { what: "endpoint", endpointId: "e1" }, { what: "network", networkId: NET }],
    });
    expect(await on.ask(`${N}.DeleteNetwork`, { NetworkID: "ef" })).toEqual({});
    on.reopen();
    expect([on.book().networks.size, on.book().endpoints.size]).toEqual([0, 0]);
  });
});

describe("an endpoint", () => {
  test("gets a MAC address if it has none, the same when Docker asks again", async () => {
    using on = desk();
    await on.ask(`${N}.CreateNetwork`, network());
    const first = await on.ask(`${N}.CreateEndpoint`, endpoint());
    expect(first).toEqual({
      Interface: { MacAddress: expect.stringMatching(/^.[26ae](:..){5}$/) as string },
    });
    expect(await on.ask(`${N}.CreateEndpoint`, endpoint())).toEqual(first);
    on.reopen();
    expect(await on.ask(`${N}.CreateEndpoint`, endpoint())).toEqual(first);
    // The next container of this address has the same one, and one of another address or of none another one.
    await on.ask(`${N}.DeleteEndpoint`, key);
    expect(await on.ask(`${N}.CreateEndpoint`, endpoint(undefined, "e3"))).toEqual(first);
    for (const [id, face] of [
      ["e4", { Address: "10.7.0.4/24" }],
      ["e5", {}],
    ] as const)
      expect(await on.ask(`${N}.CreateEndpoint`, endpoint(face, id))).not.toEqual(first);
    // What Docker gives is not given back: it refuses that.
    const given = endpoint({ Address: "10.7.0.3/24", MacAddress: "02:00:00:00:00:01" }, "e2");
    expect(await on.ask(`${N}.CreateEndpoint`, given)).toEqual({ Interface: {} });
    expect(await on.ask(`${N}.EndpointOperInfo`, { NetworkID: NET, EndpointID: "e2" })).toEqual({
      Value: { "com.docker.network.endpoint.macaddress": "02:00:00:00:00:01", [PORTMAP]: [] },
    });
  });

  test("of an ipvlan has the MAC address of the parent and no other", async () => {
    using on = desk();
    await on.ask(`${N}.CreateNetwork`, network({ mode: "ipvlan", parent: "eth1" }));
    expect(await on.ask(`${N}.CreateEndpoint`, endpoint())).toEqual({ Interface: {} });
    const wanted = endpoint({ Address: "10.7.0.3/24", MacAddress: "02:00:00:00:00:01" }, "e2");
    expect((await on.ask(`${N}.CreateEndpoint`, wanted))["Err"]).toContain("choose mode macvlan");
  });

  test("has addresses of its network", async () => {
    using on = desk();
    await on.ask(`${N}.CreateNetwork`, network());
    expect((await on.ask(`${N}.CreateEndpoint`, endpoint({ Address: "10.8.0.2/24" })))["Err"]).toContain(
      "in no subnet",
    );
  });

  test("joins, and leaves without losing its link", async () => {
    using on = desk();
    await on.ask(`${N}.CreateNetwork`, network());
    await on.ask(`${N}.CreateEndpoint`, endpoint());
    expect(await on.ask(`${N}.Join`, { ...key, SandboxKey: "/var/run/docker/netns/x" })).toMatchObject({
      InterfaceName: { SrcName: "hdl0", DstPrefix: "eth" },
      Gateway: "10.7.0.1",
    });
    const before = on.tasks.length;
    expect(await on.ask(`${N}.Leave`, key)).toEqual({});
    expect(on.tasks).toHaveLength(before);
    for (const path of ["Join", "EndpointOperInfo", "ProgramExternalConnectivity"])
      expect((await on.ask(`${N}.${path}`, { NetworkID: NET, EndpointID: "e9" }))["Err"]).toContain(
        "no endpoint e9",
      );
    expect(await on.ask(`${N}.DeleteEndpoint`, key)).toEqual({});
    expect(await on.ask(`${N}.DeleteEndpoint`, key)).toEqual({});
  });

  test("names its interface as it is told, and takes no option that nobody has", async () => {
    using on = desk();
    await on.ask(`${N}.CreateNetwork`, network());
    const create = (Options: object) => on.ask(`${N}.CreateEndpoint`, { ...endpoint(), Options });
    expect((await create({ speed: "10" }))["Err"]).toContain("Options.speed");
    await create({ "com.docker.network.endpoint.ifname": "lan0", "com.docker.network.new": "x" });
    expect(on.log.join("\n")).toContain("left out: com.docker.network.new");
    on.reopen();
    expect(await on.ask(`${N}.Join`, key)).toMatchObject({ InterfaceName: { DstName: "lan0" } });
  });

  const removed = ({ tasks }: Desk): readonly string[] =>
    tasks.flatMap((task) => (task.kind === "remove" ? task.what.map((one) => one.endpointId) : []));

  test("that could not be removed is removed before the next one is made: Docker does not ask again", async () => {
    using on = desk();
    await on.ask(`${N}.CreateNetwork`, network());
    await on.ask(`${N}.CreateEndpoint`, endpoint());
    on.failWith("the kernel says no");
    expect((await on.ask(`${N}.DeleteEndpoint`, key))["Err"]).toContain("the kernel says no");
    // Still not, and the next one is made all the same.
    expect(
      await on.ask(`${N}.CreateEndpoint`, endpoint({ Address: "10.7.0.3/24" }, "e2")),
    ).not.toHaveProperty("Err");
    expect(on.log.join("\n")).toContain("endpoint e1: still cannot be removed: the kernel says no");
    on.failWith(undefined);
    on.reopen();
    expect([...on.book().endpoints.values()].map(({ ended }) => ended).toSorted()).toEqual([false, true]);
    const before = removed(on).length;
    await on.ask(`${N}.CreateEndpoint`, endpoint({ Address: "10.7.0.4/24" }, "e3"));
    expect(removed(on).slice(before)).toEqual(["e1"]);
    on.reopen();
    expect([...on.book().endpoints.values()].map((known) => known.endpoint.id).toSorted()).toEqual([
      "e2",
      "e3",
    ]);
  });

  test("whose address Docker gives to another one of the network has ended", async () => {
    using on = desk();
    await on.ask(`${N}.CreateNetwork`, network());
    await on.ask(`${N}.CreateEndpoint`, endpoint());
    await on.ask(`${N}.CreateEndpoint`, endpoint());
    expect(removed(on)).toEqual([]);
    await on.ask(`${N}.CreateEndpoint`, endpoint(undefined, "e2"));
    expect(removed(on)).toEqual(["e1"]);
    expect([...on.book().endpoints.values()].map((known) => known.endpoint.id)).toEqual(["e2"]);
  });
});

describe("ports", () => {
  test("are opened as they were asked for then, or when the endpoint was made", async () => {
    using on = desk();
    await on.ask(`${N}.CreateNetwork`, network());
    await on.ask(`${N}.CreateEndpoint`, { ...endpoint(), ...ports(8080) });
    const info = async () =>
      (
        (await on.ask(`${N}.EndpointOperInfo`, key))["Value"] as Record<
          string,
          readonly { HostPort: number }[]
        >
      )[PORTMAP]?.map((p) => p.HostPort);
    expect(await info()).toEqual([]);
    await on.ask(`${N}.ProgramExternalConnectivity`, key);
    expect(await info()).toEqual([8080]);
    await on.ask(`${N}.ProgramExternalConnectivity`, { ...key, ...ports(8081, 0) });
    on.reopen();
    expect(await info()).toEqual([8081, 49152]);
    expect(on.log.some((line) => line.includes("port 49152/tcp of the host leads to port 80"))).toBe(true);
    await on.ask(`${N}.RevokeExternalConnectivity`, key);
    expect(await info()).toEqual([]);
    const before = on.tasks.length;
    await on.ask(`${N}.RevokeExternalConnectivity`, key);
    expect(on.tasks).toHaveLength(before);
  });

  test("of another endpoint, or of a program, are refused; failed ones are free again", async () => {
    using on = desk();
    await on.ask(`${N}.CreateNetwork`, network());
    await on.ask(`${N}.CreateEndpoint`, endpoint());
    await on.ask(`${N}.CreateEndpoint`, endpoint({ Address: "10.7.0.3/24" }, "e2"));
    const open = (EndpointID: string, ...numbers: readonly number[]) =>
      on.ask(`${N}.ProgramExternalConnectivity`, { NetworkID: NET, EndpointID, ...ports(...numbers) });
    on.failWith("the kernel says no");
    expect(await open("e1", 80)).toEqual({ Err: "the kernel says no" });
    on.failWith(undefined);
    expect(await open("e2", 80)).toEqual({});
    expect((await open("e1", 80))["Err"]).toContain("80/tcp is taken by endpoint e2 of network abab");
    on.listening = [{ protocol: "tcp", containerPort: 0, hostPort: 22, owner: "a program" }];
    expect((await open("e1", 22))["Err"]).toContain("taken by a program");
  });

  test("are left out where no host port could lead to the container", async () => {
    using on = desk();
    await on.ask(`${N}.CreateNetwork`, network({ mode: "macvlan", parent: "eth1" }));
    await on.ask(`${N}.CreateEndpoint`, endpoint());
    expect(await on.ask(`${N}.ProgramExternalConnectivity`, { ...key, ...ports(80) })).toEqual({});
    expect(on.log.at(-1)).toContain("1 of macvlan are left out");
  });
});

describe("the IPAM driver", () => {
  const pool = (more: object = {}) => ({
    AddressSpace: "heddle-local",
    Pool: "10.9.0.0/24",
    SubPool: "",
    Options: {},
    V6: false,
    ...more,
  });
  const gateway = { RequestAddressType: "com.docker.network.gateway" };

  test("gives a pool, its gateway and addresses, and knows them after a restart", async () => {
    using on = desk();
    const made = await on.ask(`${I}.RequestPool`, pool());
    expect(made).toEqual({ PoolID: "heddle-local/10.9.0.0/24", Pool: "10.9.0.0/24", Data: {} });
    const { PoolID } = made;
    const address = (more: object = {}) =>
      on.ask(`${I}.RequestAddress`, { PoolID, Address: "", Options: {}, ...more });
    expect(await address({ Options: gateway })).toEqual({ Address: "10.9.0.1/24", Data: {} });
    expect(await address()).toMatchObject({ Address: "10.9.0.2/24" });
    on.reopen();
    expect(await address()).toMatchObject({ Address: "10.9.0.3/24" });
    expect((await address({ Address: "10.9.0.2" }))["Error"]).toContain("choose another one");
    expect(await on.ask(`${I}.ReleaseAddress`, { PoolID, Address: "10.9.0.2" })).toEqual({});
    expect(await on.ask(`${I}.ReleaseAddress`, { PoolID, Address: "10.9.0.2" })).toEqual({});
    expect(await address({ Address: "10.9.0.2" })).toMatchObject({ Address: "10.9.0.2/24" });
    expect((await on.ask(`${I}.RequestPool`, pool()))["Error"]).toContain("overlaps");
    expect(await on.ask(`${I}.ReleasePool`, { PoolID })).toEqual({});
    expect(await on.ask(`${I}.ReleasePool`, { PoolID })).toEqual({});
    expect((await address())["Error"]).toContain("no pool");
    expect(readdirSync(`${on.dir}/docker/addresses`)).toEqual([]);
  });

  test("keeps a pool that nobody named out of the way of the host's routes", async () => {
    using on = desk();
    expect(await on.ask(`${I}.RequestPool`, pool({ Pool: "" }))).toMatchObject({ Pool: "10.213.1.0/24" });
    expect((await on.ask(`${I}.RequestPool`, pool({ Pool: "", V6: true })))["Pool"]).toMatch(/^fd.*::\/64$/);
  });

  test("has no options", async () => {
    using on = desk();
    expect((await on.ask(`${I}.RequestPool`, pool({ Options: { colour: "red" } })))["Error"]).toContain(
      "Options.colour",
    );
    expect(
      await on.ask(`${I}.RequestPool`, pool({ Options: { "com.docker.network.ipam.serial": "true" } })),
    ).toHaveProperty("PoolID");
  });
});

describe("the directory", () => {
  test("is for root alone, and for one process", async () => {
    using on = desk();
    await on.ask(`${N}.CreateNetwork`, network());
    const [file = ""] = readdirSync(`${on.dir}/docker/networks`);
    expect(statSync(`${on.dir}/docker`).mode & 0o777).toBe(0o700);
    expect(statSync(`${on.dir}/docker/networks/${file}`).mode & 0o777).toBe(0o600);
    expect(() => openStore(on.dir)).toThrow("another Docker plugin already exists");
  });

  test("loses nothing to files that cannot be read, nor to those that were not finished", async () => {
    using on = desk();
    await on.ask(`${N}.CreateNetwork`, network());
    const path = (name: string): string => `${on.dir}/docker/networks/${name}`;
    const [file = ""] = readdirSync(path(""));
    writeFileSync(path(`${file}.new`), "{");
    writeFileSync(path("bad.json"), "{");
    writeFileSync(path("later.json"), '{"v":2,"value":{}}');
    writeFileSync(
      path("strange.json"),
      '{"v":1,"value":{"NetworkID":"x","Options":{"com.docker.network.generic":{"a":1}}}}',
    );
    on.reopen();
    expect([...on.book().networks.keys()]).toEqual([NET]);
    expect(readdirSync(path("")).toSorted()).toEqual(
      [file, "bad.json", "later.json", "strange.json"].toSorted(),
    );
    expect(on.log.filter((line) => line.startsWith("left alone"))).toHaveLength(3);
  });
});
