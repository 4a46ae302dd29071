/**
 * `portmap` by the built executable, with packets: from outside, from the host, from the container itself and from its
 * neighbour, in both families, by both backends.
 */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { type Attached, type FirewallSite, firewallSite } from "../../src/testing/firewall-site.ts";
import { testWith, whyNot } from "../../src/testing/needs.ts";
import { startProcess, type TestProcess } from "../../src/testing/netns.ts";
import { peerProgram } from "../../src/testing/peer.ts";
import { inside, seenFrom } from "../../src/testing/traffic.ts";
import { demand } from "../faults/loop.ts";

const needs = { root: true, programs: ["ip", "nft", "iptables-nft", "nsenter", "unshare"] };
const kernel = testWith(needs);
const peer = whyNot(needs) === undefined ? await peerProgram("portmap") : undefined;
const peerTest = testWith({ ...needs, feature: peer === undefined ? "needs the reference plugins" : true });
const heddle = heddleOfFile();

type Json = Readonly<Record<string, unknown>>;
const tcp = (hostPort: number, hostIP?: string): Json => ({
  hostPort,
  containerPort: 80,
  protocol: "tcp",
  ...(hostIP === undefined ? {} : { hostIP }),
});
const udp = (hostPort: number): Json => ({ hostPort, containerPort: 53, protocol: "udp" });

/** A host where frames may leave by the port that they came by: so does who asks itself by the host's port. */
const siteOf = (): Promise<FirewallSite> => firewallSite(heddle, {}, { hairpinMode: true, ipMasq: true });

function call(
  on: FirewallSite,
  command: "ADD" | "CHECK" | "DEL" | "GC",
  { netns, result, network }: Attached,
  mappings: readonly Json[],
  options: Json = {},
) {
  return on.host.call(
    "portmap",
    { command, containerId: netns.name, netns: netns.path, ifname: "eth0" },
    {
      ...{ cniVersion: "1.1.0", name: network, type: "portmap", runtimeConfig: { portMappings: mappings } },
      ...{ prevResult: result, ...options },
    },
  );
}
const attached = async (on: FirewallSite, mappings: readonly Json[], options: Json): Promise<Attached> => {
  const one = await on.attach(await on.container(), "foo");
  demand("ADD", await call(on, "ADD", one, mappings, options));
  demand("CHECK", await call(on, "CHECK", one, mappings, options));
  return one;
};

/** What the container sees of somebody who asks the host; undefined if nothing arrives. */
const asked = (from: string, to: Attached, address: string, port: number) =>
  seenFrom(from, to.netns.path, address, port, {
    address: address.includes(":") ? to.address6 : to.address4,
    port: 80,
  });
const OUTSIDE = ["192.0.2.2", "2001:db8::2"] as const;
const HOST = ["192.0.2.1", "2001:db8::1"] as const;

describe.each(["nftables", "iptables"])("portmap by %s", (backend) => {
  kernel(
    "leads from outside, the host, the container and its neighbour, in both families",
    async () => {
      await using on = await siteOf();
      const one = await attached(on, [tcp(8080)], { backend });
      const two = await on.attach(await on.container(), "foo");
      for (const nth of [0, 1] as const) {
        const gateway = nth === 0 ? "10.91.0.1" : "fd91::1";
        expect(await asked(on.outside.path, one, HOST[nth], 8080)).toBe(OUTSIDE[nth]);
        expect(await asked(on.home, one, HOST[nth], 8080)).toBeDefined();
        expect(await asked(two.netns.path, one, HOST[nth], 8080)).toBe(gateway);
        expect(await asked(one.netns.path, one, HOST[nth], 8080)).toBe(gateway);
      }
      expect(await asked(on.home, one, "127.0.0.1", 8080)).toBe("10.91.0.1");
      demand("DEL", await call(on, "DEL", one, [], { backend }));
      expect(await asked(on.outside.path, one, HOST[0], 8080)).toBeUndefined();
    },
    30_000,
  );

  kernel(
    "keeps to the host's address that is asked for, and to its family",
    async () => {
      await using on = await siteOf();
      const one = await attached(
        on,
        [tcp(8001, HOST[0]), tcp(8002, HOST[1]), tcp(8003, "0.0.0.0"), tcp(8004, "::")],
        { backend },
      );
      const reached = async (port: number): Promise<readonly boolean[]> => {
        const seen: boolean[] = [];
        for (const address of [HOST[0], "10.91.0.1", HOST[1], "fd91::1"])
          seen.push((await asked(on.home, one, address, port)) !== undefined);
        return seen;
      };
      expect(await reached(8001)).toEqual([true, false, false, false]);
      expect(await reached(8002)).toEqual([false, false, true, false]);
      expect(await reached(8003)).toEqual([true, true, false, false]);
      expect(await reached(8004)).toEqual([false, false, true, true]);
    },
    30_000,
  );

  kernel(
    "masquerades everything, or nothing, if that is asked for",
    async () => {
      await using on = await siteOf();
      const all = await attached(on, [tcp(8080)], { backend, masqAll: true });
      const none = await attached(on, [tcp(8081)], { backend, snat: false });
      for (const nth of [0, 1] as const) {
        expect(await asked(on.outside.path, all, HOST[nth], 8080)).toBe(nth === 0 ? "10.91.0.1" : "fd91::1");
        expect(await asked(on.outside.path, none, HOST[nth], 8081)).toBe(OUTSIDE[nth]);
      }
      expect(await asked(on.home, none, "127.0.0.1", 8081)).toBeUndefined();
    },
    30_000,
  );

  kernel(
    "maps more ports than fit into one rule",
    async () => {
      await using on = await siteOf();
      const ports = Array.from({ length: 33 }, (_, i) => 9000 + i);
      const one = await attached(
        on,
        ports.map((port) => tcp(port)),
        { backend },
      );
      for (const port of [9000, 9014, 9015, 9030, 9032])
        expect(await asked(on.outside.path, one, HOST[0], port)).toBe(OUTSIDE[0]);
      expect(await asked(on.outside.path, one, HOST[0], 9033)).toBeUndefined();
    },
    30_000,
  );

  kernel(
    "UDP: a client that never pauses goes to the container that has the port now, and others keep their flows",
    async () => {
      await using on = await siteOf();
      await using client = await talker(on.outside.path, [HOST[0], 5353], [HOST[0], 5454]);
      const kept = await attached(on, [udp(5454)], { backend });
      await using _kept = await answerer(kept, "kept");
      await client.printed("5454 kept");
      const first = await attached(on, [udp(5353)], { backend });
      await using _first = await answerer(first, "first");
      await client.printed("5353 first");
      const flow = await tracked(on, 5454);
      demand("DEL", await call(on, "DEL", first, [], { backend }));
      const second = await attached(on, [udp(5353)], { backend });
      await using _second = await answerer(second, "second");
      await client.printed("5353 second");
      // Another mapping's flow was never ended: it has the number that it had.
      expect(flow).not.toBe("");
      expect(await tracked(on, 5454)).toBe(flow);
    },
    30_000,
  );

  kernel("conditions hold for their own container", async () => {
    await using on = await siteOf();
    const words = backend === "nftables" ? ["ip", "saddr", "!=", OUTSIDE[0]] : ["!", "-s", OUTSIDE[0]];
    const own = await attached(on, [tcp(8080)], { backend, conditionsV4: words });
    const other = await attached(on, [tcp(8081)], { backend });
    expect(await asked(on.outside.path, own, HOST[0], 8080)).toBeUndefined();
    expect(await asked(on.outside.path, own, HOST[1], 8080)).toBe(OUTSIDE[1]);
    expect(await asked(on.home, own, HOST[0], 8080)).toBeDefined();
    expect(await asked(on.outside.path, other, HOST[0], 8081)).toBe(OUTSIDE[0]);
    demand("DEL", await call(on, "DEL", own, [], { backend }));
    expect((await on.host.snapshot()).filter((l) => l.includes("conditions"))).toEqual([]);
  });
});

describe("portmap by iptables", () => {
  kernel("asks another program's chain to set the mark", async () => {
    await using on = await siteOf();
    await on.host.exec(["iptables-nft-restore", "--noflush"], {
      stdin: `*nat
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE
COMMIT
`,
    });
    const four = await on.attach(await on.container(), "foo");
    const ips = (four.result["ips"] as readonly Json[]).slice(0, 1);
    const one = { ...four, result: { ...four.result, ips } };
    demand("ADD", await call(on, "ADD", one, [tcp(8080)], { externalSetMarkChain: "KUBE-MARK-MASQ" }));
    expect(await asked(one.netns.path, one, HOST[0], 8080)).toBe("10.91.0.1");
    const { stdout } = await on.host.exec(["iptables-nft-save", "-t", "nat"]);
    expect(stdout).not.toContain("CNI-HOSTPORT-SETMARK");
    demand("DEL", await call(on, "DEL", one, []));
  });
});

/** Sends to each address and port every few milliseconds from one socket, and prints what answers: `PORT NAME`. */
async function talker(netns: string, ...to: readonly (readonly [string, number])[]): Promise<TestProcess> {
  const script = `const to = JSON.parse(process.argv[1]);
    const socket = await Bun.udpSocket({ hostname: "0.0.0.0", socket: {
      data: (_, bytes, port) => console.log(port + " " + bytes.toString()), error: () => {} } });
    const send = (port, address) => { try { socket.send("hello", port, address); } catch {} };
    setInterval(() => { for (const [address, port] of to) send(port, address); }, 5);
    console.log("talking");`;
  const child = startProcess([...inside(netns), process.execPath, "-e", script, JSON.stringify(to)]);
  return { ...child, printed: seenLines(child) };
}

/** As `printed`, any number of times: each goes on where the last one found its line. */
function seenLines(child: TestProcess): (text: string) => Promise<void> {
  const reader = child.stdout.getReader();
  const decoder = new TextDecoder();
  let text = "";
  return async (wanted) => {
    for (;;) {
      const at = text.indexOf(wanted);
      if (at >= 0) {
        text = text.slice(at + wanted.length);
        return;
      }
      const { done, value } = await reader.read();
      if (done) throw new Error(`ended without printing "${wanted}"`);
      text += decoder.decode(value, { stream: true });
    }
  };
}

/** Answers each packet to port 53 of the container with its name. */
async function answerer({ netns, address4 }: Attached, name: string): Promise<TestProcess> {
  const script = `const [address, name] = process.argv.slice(1);
    const socket = await Bun.udpSocket({ hostname: address, port: 53, socket: {
      data: (s, bytes, port, from) => { s.send(name, port, from); }, error: () => {} } });
    console.log("ready");`;
  const server = startProcess([...inside(netns.path), process.execPath, "-e", script, address4, name]);
  await server.printed("ready");
  return server;
}

/** The kernel's numbers of the flows to a port. */
async function tracked(on: FirewallSite, port: number): Promise<string> {
  const script = `import { openNetlink } from ${JSON.stringify(`${import.meta.dir}/../../src/netlink/socket.ts`)};
    import { decodeEntry, toFlow } from ${JSON.stringify(`${import.meta.dir}/../../src/nfnl/conntrack.ts`)};
    import { CT, nfgenmsg } from ${JSON.stringify(`${import.meta.dir}/../../src/nfnl/ctnetlink.ts`)};
    using socket = openNetlink("netfilter");
    const body = new Uint8Array(nfgenmsg.size);
    body[0] = 2;
    const entries = socket.dump({ type: CT.GET, flags: 0, body, what: "flows" }).map(decodeEntry);
    const own = entries.filter((e) => toFlow(e)?.original.destinationPort === Number(process.argv[1]));
    console.log(own.map((e) => e.id).join());`;
  return (await on.host.exec([process.execPath, "-e", script, String(port)])).stdout.trim();
}

describe("an ADD that was killed", () => {
  kernel("leaves no mapping when the next one has none", async () => {
    await using on = await siteOf();
    const one = await on.attach(await on.container(), "foo");
    // The tables and chains stay from the first mapping on.
    demand("ADD", await call(on, "ADD", one, [tcp(8080)]));
    demand("DEL", await call(on, "DEL", one, []));
    const before = await on.host.snapshot();
    demand("ADD", await call(on, "ADD", one, [tcp(8080)]));
    // Its last step was not reached.
    const dir = `${on.host.dir}/run/attachments`;
    await on.host.exec(["sh", "-c", `cd ${dir} && for f in heddle-portmap-*; do mv $f $f.pending; done`]);
    demand("ADD", await call(on, "ADD", one, []));
    expect(await on.host.snapshot()).toEqual(before);
    // One that lives keeps what it has.
    demand("ADD", await call(on, "ADD", one, [tcp(8080)]));
    demand("ADD", await call(on, "ADD", one, []));
    expect(await asked(on.outside.path, one, HOST[0], 8080)).toBe(OUTSIDE[0]);
  });
});

describe("a container that the reference has mapped by nftables", () => {
  const backend = "nftables";

  peerTest(
    "keeps its ports when another of its networks goes, which is ours",
    async () => {
      await using on = await siteOf();
      const one = await on.attach(await on.container(), "foo");
      const { name: containerId, path: netns } = one.netns;
      const theirs = (command: "ADD" | "DEL") =>
        on.host.call(
          peer ?? "",
          { command, containerId, netns, ifname: "eth0" },
          {
            ...{ cniVersion: "1.0.0", name: "foo", type: "portmap", backend },
            runtimeConfig: { portMappings: [tcp(8080), { ...tcp(8081), hostIP: "192.0.2.1" }] },
            prevResult: { ...one.result, cniVersion: "1.0.0" },
          },
        );
      demand("ADD", await theirs("ADD"));
      const second = { containerId, netns, ifname: "eth1" };
      const bridge = {
        ...{ cniVersion: "1.1.0", name: "bar", type: "bridge", bridge: "bar0" },
        ipam: { type: "static", addresses: [{ address: "10.92.0.9/24" }] },
      };
      const { result } = demand("ADD", await on.host.call("bridge", { command: "ADD", ...second }, bridge));
      const ours = (command: "ADD" | "DEL", prevResult: unknown, portMappings: readonly Json[] = []) =>
        on.host.call(
          "portmap",
          { command, ...second },
          {
            ...{ cniVersion: "1.1.0", name: "bar", type: "portmap", prevResult },
            runtimeConfig: { portMappings },
          },
        );
      demand("ADD", await ours("ADD", result));
      const rules = async () =>
        (await on.host.exec(["nft", "list", "ruleset"])).stdout
          .split("\n")
          .filter((l) => l.includes(containerId));
      const before = await rules();
      expect(before.length).toBeGreaterThan(4);
      // With the previous result, with mappings that were never made, and with the key alone.
      for (const call of [
        () => ours("DEL", result),
        () => ours("DEL", result, [tcp(7070)]),
        () => ours("DEL", undefined),
      ]) {
        demand("DEL", await call());
        expect(await rules()).toEqual(before);
      }
      expect(await asked(on.outside.path, one, HOST[0], 8080)).toBe(OUTSIDE[0]);
      demand("DEL", await call(on, "DEL", one, [], { backend }));
      expect(await rules()).toEqual([]);
    },
    30_000,
  );

  peerTest("loses them with its own DEL, which knows no more than the key", async () => {
    await using on = await siteOf();
    const one = await on.attach(await on.container(), "foo");
    const { name: containerId, path: netns } = one.netns;
    const prevResult = { ...one.result, cniVersion: "1.0.0" };
    const conf = { cniVersion: "1.0.0", name: "foo", type: "portmap", backend, prevResult };
    const runtimeConfig = { portMappings: [tcp(8080)] };
    demand(
      "ADD",
      await on.host.call(
        peer ?? "",
        { command: "ADD", containerId, netns, ifname: "eth0" },
        { ...conf, runtimeConfig },
      ),
    );
    // Attached by the reference altogether: nobody of ours has a record.
    await on.host.exec(["rm", "-rf", `${on.host.dir}/run/attachments`]);
    demand("DEL", await call(on, "DEL", { ...one, result: undefined as never }, []));
    expect((await on.host.exec(["nft", "list", "ruleset"])).stdout).not.toContain(containerId);
  });
});
