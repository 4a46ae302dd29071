import { describe, expect, test } from "bun:test";
import { iptablesIn, type TestIptables, type Variant } from "../testing/iptables.ts";
import { allLive, nobodyLives, sameContainer } from "../testing/nftables.ts";
import { describeWith, whyNot } from "../testing/needs.ts";
import { type TestNetns, testNetns } from "../testing/netns.ts";
import { run } from "../testing/run.ts";
import { cidr as prefix, ip } from "../testing/address.ts";
import { connectFrom, serveIn } from "../testing/traffic.ts";
import { tempDir } from "../testing/temp-dir.ts";
import type { FirewallRule, FirewallState, IptablesOptions } from "./model.ts";

/** The iptables backend against the kernel's own tables, through both programs that a host may have. */
const MARK = "heddle-portmap-0123456789ab-0123456789abcdef";
const OTHER = "heddle-portmap-0123456789ab-fedcba9876543210";

const masquerade = (address: string): FirewallRule => ({
  kind: "masquerade",
  address: prefix(address).ip,
  subnet: prefix(address),
});
const mapping = (hostPort: number, more: Partial<Extract<FirewallRule, { kind: "port-mapping" }>> = {}) =>
  ({
    kind: "port-mapping",
    protocol: "tcp",
    hostPort,
    target: ip("10.99.0.2"),
    targetPort: 80,
    subnet: prefix("10.99.0.2/24"),
    masquerade: "local",
    ...more,
  }) satisfies FirewallRule;
const state = (
  rules: readonly FirewallRule[],
  containerId = "cid",
  iptables?: IptablesOptions,
): FirewallState => ({
  backend: "iptables",
  rules,
  network: "mynet",
  containerId,
  ...(iptables ? { iptables } : {}),
});

interface Bench extends AsyncDisposable {
  readonly netns: TestNetns;
  readonly tables: TestIptables;
  /** The rules of a table, without chains and comments; sorted by nothing, as printed. */
  rules(table?: string, family?: 4 | 6): Promise<string[]>;
  chains(family?: 4 | 6): Promise<string[]>;
}

async function bench(variant: Variant): Promise<Bench> {
  const netns = await testNetns();
  const folder = tempDir("iptables");
  const tables = iptablesIn(netns.name, variant, folder.in("lock"));
  const lines = async (table: string, family: 4 | 6): Promise<string[]> => {
    const program = `${family === 4 ? "iptables" : "ip6tables"}-${variant}-save`;
    return (await netns.exec([program, "-t", table])).stdout.split("\n");
  };
  return {
    netns,
    tables,
    rules: async (table = "nat", family = 4) =>
      (await lines(table, family)).filter((l) => l.startsWith("-A")),
    chains: async (family = 4) =>
      (await lines("nat", family))
        .filter((l) => l.startsWith(":CNI"))
        .map((l) => l.slice(1).split(" ")[0] ?? ""),
    [Symbol.asyncDispose]: async () => {
      folder[Symbol.dispose]();
      await netns[Symbol.asyncDispose]();
    },
  };
}

const legacy = whyNot({ root: true, programs: ["iptables-legacy-save"] });
const legacyWorks =
  legacy === undefined &&
  Bun.spawnSync(["iptables-legacy", "-t", "nat", "-S"], { stdout: "ignore", stderr: "ignore" }).exitCode ===
    0;

describe.each(["nft", "legacy"] as const)("the iptables backend over iptables-%s", (variant) => {
  const needs = {
    root: true,
    programs: ["ip", `iptables-${variant}-restore`],
    feature: variant === "nft" || legacyWorks ? (true as const) : "needs ip_tables in the kernel",
  };
  describeWith(needs)("apply and remove", () => {
    test("a masquerade is made by one process, removed by one, and leaves no chain", async () => {
      await using b = await bench(variant);
      const wanted = state([masquerade("10.99.0.2/24"), masquerade("10.98.0.2/16")]);
      b.tables.backend.apply(wanted, MARK, nobodyLives);
      expect(b.tables.calls).toEqual(["iptables-restore"]);
      const chain = "CNI-4704479eff9e2e5ed87fef06";
      const comment = String.raw`-m comment --comment "name: \"mynet\" id: \"cid\""`;
      expect(await b.rules()).toEqual([
        `-A POSTROUTING -s 10.99.0.2/32 ${comment} -j ${chain}`,
        `-A POSTROUTING -s 10.98.0.2/32 ${comment} -j ${chain}`,
        `-A ${chain} -m comment --comment ${MARK}`,
        `-A ${chain} -d 10.99.0.0/24 ${comment} -j ACCEPT`,
        `-A ${chain} -d 10.98.0.0/16 ${comment} -j ACCEPT`,
        `-A ${chain} ! -d 224.0.0.0/4 ${comment} -j MASQUERADE`,
      ]);
      b.tables.backend.verify(wanted, MARK, nobodyLives);
      b.tables.calls.length = 0;
      b.tables.backend.remove(MARK, wanted);
      expect(b.tables.calls).toEqual(["iptables-restore"]);
      expect(await b.rules()).toEqual([]);
      expect(await b.chains()).toEqual([]);
      b.tables.backend.remove(MARK, wanted);
    });

    test("both families are made, and removal by the mark alone finds both", async () => {
      await using b = await bench(variant);
      const wanted = state([
        masquerade("10.99.0.2/24"),
        masquerade("fd00:99::2/64"),
        mapping(8080),
        mapping(8080, { target: ip("fd00:99::2"), subnet: prefix("fd00:99::2/64") }),
      ]);
      b.tables.backend.apply(wanted, MARK, nobodyLives);
      expect(b.tables.calls).toEqual([
        "iptables-save",
        "iptables-restore",
        "ip6tables-save",
        "ip6tables-restore",
      ]);
      b.tables.backend.verify(wanted, MARK, nobodyLives);
      expect(await b.rules("nat", 6)).toContain(
        "-A CNI-DN-4704479eff9e2e5ed87fe -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00:99::2]:80",
      );
      b.tables.backend.remove(MARK);
      const shared = ["CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK"];
      expect((await b.chains(4)).sort()).toEqual(shared);
      expect((await b.chains(6)).sort()).toEqual(shared);
    });

    test("applying again replaces, and adds no second jump anywhere", async () => {
      await using b = await bench(variant);
      const first = state([masquerade("10.99.0.2/24"), mapping(8080)]);
      b.tables.backend.apply(first, MARK, allLive);
      const before = await b.rules();
      b.tables.backend.apply(first, MARK, allLive);
      expect((await b.rules()).sort()).toEqual(before.sort());
      const second = state([mapping(8081)]);
      b.tables.backend.apply(second, MARK, allLive);
      expect((await b.rules()).join("\n")).not.toMatch(/8080|10\.99\.0\.2\/32/);
      b.tables.backend.verify(second, MARK, nobodyLives);
      const guard = await b.rules("raw");
      expect(guard.map((l) => l.split(" ").sort().join(" "))).toEqual(
        ["-A PREROUTING -j CNI-HOSTPORT-GUARD", "-A CNI-HOSTPORT-GUARD -d 127.0.0.0/8 ! -i lo -j DROP"].map(
          (l) => l.split(" ").sort().join(" "),
        ),
      );
    });

    test("two interfaces of one container in one network keep their own rules", async () => {
      await using b = await bench(variant);
      const one = state([masquerade("10.99.0.2/24")]);
      const two = state([masquerade("10.97.0.2/24")]);
      b.tables.backend.apply(one, MARK, allLive);
      b.tables.backend.apply(two, OTHER, allLive);
      b.tables.backend.verify(one, MARK, nobodyLives);
      b.tables.backend.verify(two, OTHER, nobodyLives);
      b.tables.backend.remove(MARK, one);
      b.tables.backend.verify(two, OTHER, nobodyLives);
      expect(() => b.tables.backend.verify(one, MARK, nobodyLives)).toThrow("missing");
      b.tables.backend.remove(OTHER, two);
      expect(await b.chains()).toEqual([]);
      expect(await b.rules()).toEqual([]);
    });

    test("a port of a live container is refused and nothing changes; that of a dead one is taken over", async () => {
      await using b = await bench(variant);
      b.tables.backend.apply(state([mapping(8080, { hostIp: ip("127.0.0.1") })], "one"), MARK, allLive);
      const before = await b.rules();
      const wanted = state([mapping(8080)], "two");
      expect(() => b.tables.backend.apply(wanted, OTHER, allLive)).toThrow(
        `taken by container behind ${MARK}`,
      );
      expect(await b.rules()).toEqual(before);
      b.tables.backend.apply(state([mapping(8080, { hostIp: ip("127.0.0.2") })], "two"), OTHER, allLive);
      b.tables.backend.apply(state([mapping(8080, { protocol: "udp" })], "two"), OTHER, allLive);
      b.tables.backend.apply(wanted, OTHER, nobodyLives);
      expect((await b.rules()).join("\n")).not.toContain(MARK);
      b.tables.backend.verify(wanted, OTHER, nobodyLives);
    });

    test("a family that cannot be made takes the other one back", async () => {
      await using b = await bench(variant);
      const wrong = state(
        [mapping(80), mapping(80, { target: ip("fd00::2"), subnet: prefix("fd00::2/64") })],
        "c",
        {
          conditionsV6: ["--no-such-match"],
        },
      );
      expect(() => b.tables.backend.apply(wrong, MARK, nobodyLives)).toThrow("no-such-match");
      expect((await b.chains()).join()).not.toContain("CNI-DN");
      expect(await b.chains(6)).toEqual([]);
    });

    test("removal does not need the configuration that was used", async () => {
      await using b = await bench(variant);
      b.tables.backend.apply(state([mapping(8080), mapping(53, { protocol: "udp" })]), MARK, nobodyLives);
      await b.netns.exec([
        `iptables-${variant}`,
        "-t",
        "nat",
        "-A",
        "OUTPUT",
        "-j",
        "CNI-DN-4704479eff9e2e5ed87fe",
      ]);
      b.tables.backend.remove(MARK, state([mapping(9)]));
      expect((await b.rules()).join("\n")).not.toContain("CNI-DN");
    });

    test("a port of the same container in another network stays with the first, and the second is behind it", async () => {
      await using b = await bench(variant);
      const first = state([mapping(8080)]);
      const second = {
        ...state([mapping(8080, { target: ip("10.98.0.2"), subnet: prefix("10.98.0.0/16") })]),
        network: "other",
      };
      b.tables.backend.apply(first, MARK, sameContainer);
      b.tables.backend.refuseTaken(second, OTHER, sameContainer);
      b.tables.backend.apply(second, OTHER, sameContainer);
      const entries = (await b.rules()).filter((l) => l.startsWith("-A CNI-HOSTPORT-DNAT"));
      expect(entries.map((l) => /mynet|other/.exec(l)?.[0])).toEqual(["mynet", "other"]);
      for (const [one, mark] of [
        [first, MARK],
        [second, OTHER],
      ] as const)
        b.tables.backend.verify(one, mark, sameContainer);
      b.tables.backend.remove(MARK, first);
      b.tables.backend.verify(second, OTHER, sameContainer);
    });

    test("prune removes what carries the prefix and is not valid, and nothing else", async () => {
      await using b = await bench(variant);
      const foreign = "heddle-portmap-ffffffffffff-0123456789abcdef";
      b.tables.backend.apply(state([mapping(1)], "one"), MARK, allLive);
      b.tables.backend.apply(state([mapping(2)], "two"), OTHER, allLive);
      b.tables.backend.apply(state([mapping(3)], "three"), foreign, allLive);
      b.tables.backend.prune("heddle-portmap-0123456789ab-", new Set([OTHER]));
      const marks = (await b.rules()).filter((l) => l.includes("heddle-")).map((l) => l.split(" ").at(-1));
      expect(marks.sort()).toEqual([OTHER, foreign].sort());
    });

    test("more than fifteen ports become several entry rules, with the conditions in each", async () => {
      await using b = await bench(variant);
      const ports = Array.from({ length: 32 }, (_, i) => mapping(1000 + i));
      const wanted = state(ports, "cid", { conditionsV4: ["!", "-s", "192.0.2.0/24"], markMasqBit: 5 });
      b.tables.backend.apply(wanted, MARK, nobodyLives);
      const entries = (await b.rules()).filter((l) => l.startsWith("-A CNI-HOSTPORT-DNAT"));
      expect(entries.map((l) => l.split("--dports ")[1]?.split(" ")[0]?.split(",").length)).toEqual([
        15, 15, 2,
      ]);
      expect(entries.every((l) => l.includes("! -s 192.0.2.0/24"))).toBeTrue();
      expect((await b.rules()).join("\n")).toContain("--set-xmark 0x20/0x20");
      b.tables.backend.verify(wanted, MARK, nobodyLives);
      b.tables.backend.remove(MARK, wanted);
      expect((await b.chains()).join()).not.toContain("CNI-DN");
    });

    test("what is accepted and refused is made for each family that has an address, and removed by the notes", async () => {
      await using b = await bench(variant);
      const wanted = state([
        { kind: "accept-forward", address: ip("10.99.0.2") },
        { kind: "ingress-policy", bridge: "br0", address: ip("10.99.0.2"), isolated: true },
        { kind: "accept-forward", address: ip("fd00:99::2") },
      ]);
      b.tables.backend.apply(wanted, MARK, nobodyLives);
      b.tables.backend.verify(wanted, MARK, nobodyLives);
      expect(b.tables.calls.filter((c) => c.endsWith("restore"))).toEqual([
        "iptables-restore",
        "ip6tables-restore",
      ]);
      const once = [await b.rules("filter"), await b.rules("filter", 6)];
      expect(once[0]).toContain("-A CNI-FORWARD -s 10.99.0.2/32 -j ACCEPT");
      expect(once[1]?.join("\n")).not.toContain("ISOLATION");
      b.tables.backend.apply(wanted, MARK, nobodyLives);
      expect([await b.rules("filter"), await b.rules("filter", 6)].map((r) => r.sort())).toEqual(
        once.map((r) => r.sort()),
      );
      b.tables.backend.apply(wanted, OTHER, nobodyLives);
      b.tables.backend.remove(MARK, wanted);
      b.tables.backend.verify(wanted, OTHER, nobodyLives);
      b.tables.backend.prune(OTHER.slice(0, -16), new Set());
      for (const family of [4, 6] as const)
        expect((await b.rules("filter", family)).join("\n")).not.toMatch(/10\.99|fd00|br0|heddle/);
      expect(() => b.tables.backend.verify(wanted, OTHER, nobodyLives)).toThrow(
        "iptables filter CNI-FORWARD",
      );
    });

    test("an external chain is used in place of ours, and has to exist", async () => {
      await using b = await bench(variant);
      const wanted = state([mapping(8080)], "cid", { externalSetMarkChain: "KUBE-MARK-MASQ" });
      expect(() => b.tables.backend.apply(wanted, MARK, nobodyLives)).toThrow("KUBE-MARK-MASQ");
      await b.netns.exec([`iptables-${variant}`, "-t", "nat", "-N", "KUBE-MARK-MASQ"]);
      b.tables.backend.apply(wanted, MARK, nobodyLives);
      expect((await b.chains()).sort()).toEqual(["CNI-DN-4704479eff9e2e5ed87fe", "CNI-HOSTPORT-DNAT"]);
      b.tables.backend.verify(wanted, MARK, nobodyLives);
    });

    test("CHECK names the rule that was changed", async () => {
      await using b = await bench(variant);
      const wanted = state([mapping(8080)]);
      b.tables.backend.apply(wanted, MARK, nobodyLives);
      await b.netns.exec([`iptables-${variant}`, "-t", "nat", "-D", "CNI-DN-4704479eff9e2e5ed87fe", "4"]);
      expect(() => b.tables.backend.verify(wanted, MARK, nobodyLives)).toThrow(
        "DNAT --to-destination 10.99.0.2:80",
      );
      b.tables.backend.apply(wanted, MARK, nobodyLives);
      await b.netns.exec([`iptables-${variant}`, "-t", "raw", "-F", "PREROUTING"]);
      expect(() => b.tables.backend.verify(wanted, MARK, nobodyLives)).toThrow("raw PREROUTING");
    });
  });

  describeWith({ ...needs, programs: [...needs.programs, "sysctl", "nsenter"] })("traffic", () => {
    test("a mapping is reached from outside and from the loopback, and the guard stops the neighbour", async () => {
      await using host = await bench(variant);
      await using container = await testNetns();
      await using outside = await testNetns();
      await link(host.netns, container, "10.99.0.1/24", "10.99.0.2/24");
      await link(host.netns, outside, "192.0.2.1/24", "192.0.2.2/24");
      await host.netns.exec(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.route_localnet=1"]);
      await container.exec(["ip", "route", "add", "default", "via", "10.99.0.1"]);
      await using _web = await serveIn(container.path, "0.0.0.0", 80);
      await using _far = await serveIn(outside.path, "192.0.2.2", 80);
      const wanted = state([
        masquerade("10.99.0.2/24"),
        mapping(8080),
        mapping(8081, { hostIp: ip("127.0.0.1") }),
      ]);
      expect(await reaches(container, "192.0.2.2", 80)).toBe(false);
      host.tables.backend.apply(wanted, MARK, nobodyLives);
      expect(await reaches(outside, "192.0.2.1", 8080)).toBe(true);
      expect(await reaches(host.netns, "127.0.0.1", 8080)).toBe(true);
      expect(await reaches(host.netns, "127.0.0.1", 8081)).toBe(true);
      expect(await reaches(outside, "192.0.2.1", 8081)).toBe(false);
      expect(await reaches(container, "10.99.0.1", 8080)).toBe(true);
      expect(await reaches(container, "192.0.2.2", 80)).toBe(true);
      await attack(container, "10.99.0.1");
      expect(await heard(host.netns, container)).toEqual(["done"]);
      await host.netns.exec([`iptables-${variant}`, "-t", "raw", "-F", "CNI-HOSTPORT-GUARD"]);
      expect(await heard(host.netns, container)).toEqual(["attack", "done"]);
      host.tables.backend.remove(MARK, wanted);
      expect(await reaches(outside, "192.0.2.1", 8080)).toBe(false);
    }, 30_000);
  });
});

/** Routes 127.0.0.0/8 to the gateway instead of to the own loopback, as a hostile container would. */
async function attack(container: TestNetns, gateway: string): Promise<void> {
  await container.exec(["ip", "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local"]);
  await container.exec(["ip", "route", "del", "local", "127.0.0.1", "dev", "lo", "table", "local"]);
  await container.exec(["ip", "route", "add", "127.0.0.0/8", "via", gateway]);
}

const LISTEN = `const socket = await Bun.udpSocket({ hostname: "127.0.0.1", port: 7777, socket: { data: (_, bytes) => {
  console.log(bytes.toString());
  if (bytes.toString() === "done") socket.close();
} } });
console.log("listening");`;
const SEND = `const socket = await Bun.udpSocket({});
socket.send(process.argv[1], 7777, "127.0.0.1");
socket.close();`;

/** What a service bound to the host's loopback hears after a container wrote to it, and the host itself at the end. */
async function heard(host: TestNetns, container: TestNetns): Promise<string[]> {
  await using service = host.start([process.execPath, "-e", LISTEN]);
  const reader = service.stdout.getReader();
  let text = "";
  const until = async (word: string): Promise<void> => {
    while (!text.includes(word)) text += Buffer.from((await reader.read()).value ?? "done").toString();
  };
  await until("listening");
  await container.exec([process.execPath, "-e", SEND, "attack"]);
  await host.exec([process.execPath, "-e", SEND, "done"]);
  await until("done");
  return text.trim().split("\n").slice(1);
}

const reaches = async (from: TestNetns, address: string, port: number): Promise<boolean> =>
  (await connectFrom(from.path, address, port)).code === 0;

async function link(a: TestNetns, b: TestNetns, addressA: string, addressB: string): Promise<void> {
  const name = `v${b.name.slice(-8)}`;
  await run([
    "ip",
    "link",
    "add",
    name,
    "netns",
    a.name,
    "type",
    "veth",
    "peer",
    "name",
    "eth0",
    "netns",
    b.name,
  ]);
  await a.exec(["ip", "address", "add", addressA, "dev", name]);
  await b.exec(["ip", "address", "add", addressB, "dev", "eth0"]);
  await a.exec(["ip", "link", "set", name, "up"]);
  await b.exec(["ip", "link", "set", "eth0", "up"]);
}
