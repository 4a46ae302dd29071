import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { peerDir } from "../../scripts/peer.ts";
import { type NetlinkSocket, openNetlink } from "../netlink/socket.ts";
import { inNetns, openNetns } from "../sys/netns.ts";
import { iptablesIn, type Variant } from "../testing/iptables.ts";
import { allLive } from "../testing/nftables.ts";
import { describeWith } from "../testing/needs.ts";
import { type TestNetns, testNetns } from "../testing/netns.ts";
import { plainEnv } from "../testing/run.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { removeReferenceMasquerade, removeReferencePortmap } from "./iptables-reference.ts";
import { mayHaveChains } from "./iptables-probe.ts";
import type { FirewallRule, FirewallState } from "./model.ts";
import { cidr as prefix, ip } from "../testing/address.ts";

/**
 * Against the reference plugins themselves: our rules are theirs but for the differences that are listed here, and
 * what they made is removed by us.
 */

const MARK = "heddle-portmap-0123456789ab-0123456789abcdef";
const ADDRESSES = ["10.99.0.2/24", "10.99.0.3/24", "fd00:99::2/64"];
const MAPPINGS = [
  { hostPort: 8082, containerPort: 80, protocol: "tcp" },
  { hostPort: 8081, containerPort: 81, protocol: "tcp", hostIP: "127.0.0.1" },
  { hostPort: 5353, containerPort: 53, protocol: "udp" },
  { hostPort: 9000, containerPort: 90, protocol: "tcp", hostIP: "fd00::1" },
] as const;

const folder = tempDir("reference");
afterAll(() => folder[Symbol.dispose]());

/** A `PATH` in which `iptables` is the program of that kind. */
function pathOf(variant: Variant): string {
  const bin = folder.in(variant);
  mkdirSync(bin, { recursive: true });
  for (const name of ["iptables", "ip6tables"]) {
    try {
      symlinkSync(`/usr/sbin/${name}-${variant}`, `${bin}/${name}`);
    } catch {
      // An earlier test made it.
    }
  }
  return `${bin}:${plainEnv["PATH"]}`;
}

interface Host extends AsyncDisposable {
  readonly netns: TestNetns;
  /** Runs a plugin of the reference inside the host's namespace. */
  plugin(type: string, verb: "ADD" | "DEL", conf: object): Promise<unknown>;
}

async function hostOf(variant: Variant, containerId = "cid"): Promise<Host> {
  const peer = await peerDir();
  const netns = await testNetns();
  const container = await testNetns();
  return {
    netns,
    plugin: async (type, verb, conf) => {
      const outcome = await netns.exec([`${peer}/${type}`], {
        stdin: JSON.stringify({ cniVersion: "1.0.0", name: "mynet", type, ...conf }),
        env: {
          PATH: pathOf(variant),
          CNI_COMMAND: verb,
          CNI_CONTAINERID: containerId,
          CNI_NETNS: container.path,
          CNI_IFNAME: "eth0",
          CNI_PATH: peer,
        },
      });
      return outcome.stdout === "" ? undefined : (JSON.parse(outcome.stdout) as unknown);
    },
    [Symbol.asyncDispose]: async () => {
      await container[Symbol.asyncDispose]();
      await netns[Symbol.asyncDispose]();
    },
  };
}

const bridge = (backend: string): object => ({
  ...{ bridge: "cni0", isGateway: true, ipMasq: true, ipMasqBackend: backend },
  ipam: { type: "static", addresses: ADDRESSES.map((address) => ({ address })) },
});
const portmap = (backend: string, prevResult: unknown, options: object = {}): object => ({
  ...{ backend, prevResult, ...options },
  runtimeConfig: { portMappings: MAPPINGS },
});

/** What our plugins ask for with the same configuration. */
function ourState(masquerade: "none" | "local" | "all", options: object): FirewallState {
  const rules: FirewallRule[] = ADDRESSES.map((a) => ({
    kind: "masquerade",
    address: prefix(a).ip,
    subnet: prefix(a),
  }));
  for (const target of ["10.99.0.2/24", "fd00:99::2/64"].map(prefix))
    for (const m of MAPPINGS) {
      const hostIp = "hostIP" in m ? ip(m.hostIP) : undefined;
      if (hostIp && hostIp.family !== target.ip.family) continue;
      rules.push({
        kind: "port-mapping",
        ...{ protocol: m.protocol, hostPort: m.hostPort, target: target.ip, targetPort: m.containerPort },
        ...{ subnet: target, masquerade, ...(hostIp ? { hostIp } : {}) },
      });
    }
  return { backend: "iptables", rules, network: "mynet", containerId: "cid", iptables: options };
}

async function natOf(netns: TestNetns, variant: Variant, family: 4 | 6): Promise<string[]> {
  const program = `${family === 4 ? "iptables" : "ip6tables"}-${variant}-save`;
  const text = (await netns.exec([program, "-t", "nat"])).stdout;
  return text.split("\n").filter((l) => l.startsWith("-A") || l.startsWith(":CNI"));
}

/** Chains in the order of their names, the rules of each in their own order. */
function byChain(lines: readonly string[]): Record<string, string[]> {
  const chains: Record<string, string[]> = {};
  for (const line of lines) {
    const chain = line.startsWith(":") ? "chains" : (line.split(" ")[1] ?? "");
    (chains[chain] ??= []).push(line);
  }
  chains["chains"]?.sort();
  return chains;
}

const needs = { root: true, programs: ["ip", "iptables-nft-save", "iptables-legacy-save", "apt-get"] };

describe.each(["nft", "legacy"] as const)("beside the reference over iptables-%s", (variant) => {
  describeWith(needs)("the same configuration", () => {
    test.each<[string, "none" | "local" | "all", object, object]>([
      ["as it is by default", "local", {}, {}],
      ["with masqAll", "all", { masqAll: true }, {}],
      ["without snat", "none", { snat: false }, {}],
      ["with another mark bit", "local", { markMasqBit: 5 }, { markMasqBit: 5 }],
      [
        "with conditions",
        "local",
        { conditionsV4: ["!", "-d", "192.0.2.0/24"], conditionsV6: ["!", "-d", "fc00::/7"] },
        { conditionsV4: ["!", "-d", "192.0.2.0/24"], conditionsV6: ["!", "-d", "fc00::/7"] },
      ],
    ])("%s gives the same rules but for the listed differences", async (_, masquerade, theirs, ours) => {
      await using host = await hostOf(variant);
      const result = await host.plugin("bridge", "ADD", bridge("iptables"));
      await host.plugin("portmap", "ADD", portmap("iptables", result, theirs));
      await using mine = await testNetns();
      const { backend } = iptablesIn(mine.name, variant, folder.in("lock"));
      backend.apply(ourState(masquerade, ours), MARK, () => undefined);
      for (const family of [4, 6] as const) {
        // 1. The reference lists the ports of the other family's addresses in the entry rule, too.
        const [all, own] = family === 4 ? [",9000", ""] : [",8081", ""];
        const wanted = (await natOf(host.netns, variant, family)).map((line) => line.replace(all, own));
        const found = await natOf(mine, variant, family);
        // 2. Each chain of ours begins with the mark of its owner.
        const marks = found.filter((line) => line.endsWith(` --comment ${MARK}`));
        expect(marks.length).toBe(2);
        expect(byChain(found.filter((line) => !marks.includes(line)))).toEqual(byChain(wanted));
      }
    });
  });

  describeWith(needs)("taking over", () => {
    test("removes what the reference left in iptables, and nothing of another container", async () => {
      await using host = await hostOf(variant);
      const result = await host.plugin("bridge", "ADD", bridge("iptables"));
      await host.plugin("portmap", "ADD", portmap("iptables", result));
      const { backend } = iptablesIn(host.netns.name, variant, folder.in("lock"));
      const other = { ...ourState("local", {}), containerId: "other" };
      expect(() => backend.apply(other, MARK, allLive)).toThrow("taken by another program");
      // The reference's own network of the same container is none of its rivals.
      backend.refuseTaken(ourState("local", {}), MARK, allLive);
      const free = { ...other, rules: other.rules.filter((r) => r.kind === "masquerade") };
      backend.apply(free, MARK, allLive);
      remove(host.netns, variant, "cid");
      const left = [...(await natOf(host.netns, variant, 4)), ...(await natOf(host.netns, variant, 6))].join(
        "\n",
      );
      expect(left).not.toContain("4704479eff9e2e5ed87fe");
      backend.verify(free, MARK, allLive);
      remove(host.netns, variant, "other");
      backend.verify(free, MARK, allLive);
    });
  });
});

describeWith({ ...needs, programs: [...needs.programs, "nft"] })(
  "taking over from the reference over nft",
  () => {
    test("removes what the reference left in nftables, and nothing of another container", async () => {
      await using host = await hostOf("nft");
      await using other = await hostOf("nft", "other");
      const result = await host.plugin("bridge", "ADD", bridge("nftables"));
      await host.plugin("portmap", "ADD", portmap("nftables", result));
      const stranger = ["nft", "add", "rule", "ip", "cni_hostport", "hostports"];
      await host.netns.exec([
        ...stranger,
        "tcp",
        "dport",
        "7",
        "dnat",
        "to",
        "10.99.0.9:7",
        "comment",
        '"other"',
      ]);
      remove(host.netns, "nft", "cid");
      const { stdout } = await host.netns.exec(["nft", "list", "ruleset"]);
      expect(stdout).not.toContain('"cid"');
      expect(stdout).not.toContain("id: cid");
      expect(stdout).toContain('comment "other"');
      remove(other.netns, "nft", "cid");
    });

    test("mayHaveChains sees a container's chain and is not misled by the shared ones", async () => {
      await using netns = await testNetns();
      const { backend } = iptablesIn(netns.name, "nft", folder.in("lock"));
      const probe = (): boolean => inside(netns, () => mayHaveChains(4));
      expect(probe()).toBeFalse();
      backend.apply(ourState("local", {}), MARK, () => undefined);
      expect(probe()).toBeTrue();
      backend.remove(MARK);
      expect(probe()).toBeFalse();
    });
  },
);

function inside<T>(netns: TestNetns, work: () => T): T {
  using handle = openNetns(netns.path);
  return inNetns(handle, work);
}

function remove(netns: TestNetns, variant: Variant, containerId: string): void {
  using socket: NetlinkSocket = inside(netns, () => openNetlink("netfilter"));
  const attachment = { network: "mynet", containerId, ifname: "eth0" };
  const options = {
    legacyNat: () => variant === "legacy",
    run: (program: string, args: readonly string[], stdin: string) => {
      const child = Bun.spawnSync(["ip", "netns", "exec", netns.name, program, ...args], {
        stdin: Buffer.from(stdin),
        env: { ...plainEnv },
      });
      return {
        code: child.exitCode ?? -1,
        stdout: child.stdout.toString(),
        stderr: child.stderr.toString(),
      };
    },
  };
  removeReferenceMasquerade(socket, attachment, options);
  removeReferencePortmap(socket, attachment, options);
}
