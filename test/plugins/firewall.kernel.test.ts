/**
 * `firewall` by the built executable: what real packets may and may not do under each backend and policy, and what is left
 * when containers are gone.
 */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { type Attached, type FirewallSite, firewallSite } from "../../src/testing/firewall-site.ts";
import { kernelTestWith, testWith } from "../../src/testing/needs.ts";
import type { TestNetns } from "../../src/testing/netns.ts";
import { seenFrom } from "../../src/testing/traffic.ts";

const kernel = testWith({ root: true, programs: ["ip", "nft", "iptables-nft", "nsenter", "unshare"] });
const inVlans = kernelTestWith("bridge vlan");
const heddle = heddleOfFile();

/** Whether a connection from one place arrives at another, for each family. */
async function passes(from: TestNetns, to: Attached): Promise<readonly boolean[]> {
  const asked = [to.address4, to.address6].map((address) => seenFrom(from.path, to.netns.path, address, 80));
  return (await Promise.all(asked)).map((seen) => seen !== undefined);
}
const reachesOut = async (from: Attached, { outside }: FirewallSite): Promise<readonly boolean[]> =>
  (
    await Promise.all(
      ["192.0.2.2", "2001:db8::2"].map((address) => seenFrom(from.netns.path, outside.path, address, 80)),
    )
  ).map((seen) => seen !== undefined);
const BOTH = [true, true];
const NEITHER = [false, false];

const filter = async (on: FirewallSite, family: 4 | 6 = 4): Promise<string[]> => {
  const program = family === 4 ? "iptables-nft-save" : "ip6tables-nft-save";
  const { stdout } = await on.host.exec([program, "-t", "filter"]);
  return stdout.split("\n").filter((line) => line.startsWith("-A") || line.startsWith(":CNI"));
};
const rules = async (on: FirewallSite, family: 4 | 6 = 4): Promise<string[]> =>
  (await filter(on, family)).filter((line) => line.startsWith("-A"));
const tables = async (on: FirewallSite): Promise<string> =>
  (await on.host.exec(["nft", "list", "tables"])).stdout;
const dropForwarded = async (on: FirewallSite): Promise<void> => {
  for (const program of ["iptables-nft", "ip6tables-nft"])
    await on.host.exec([program, "-P", "FORWARD", "DROP"]);
};
/** Without br_netfilter, or with it switched off, iptables sees no frames between ports. */
const hideFrames = (on: FirewallSite): Promise<unknown> =>
  on.host.exec(
    ["sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0"],
    { mustSucceed: false },
  );

describe.each(["nftables", "iptables"])("ingressPolicy by %s", (backend) => {
  kernel(
    "same-bridge lets containers of one network talk, and stops those of another",
    async () => {
      await using on = await firewallSite(heddle);
      const options = { backend, ingressPolicy: "same-bridge" };
      const [a, b, c] = [await on.container(), await on.container(), await on.container()];
      const [foo1, foo2] = [await on.attach(a, "foo", options), await on.attach(b, "foo", options)];
      const bar = await on.attach(c, "bar", options);
      expect(await passes(a, foo2)).toEqual(BOTH);
      expect(await passes(a, bar)).toEqual(NEITHER);
      expect(await passes(c, foo1)).toEqual(NEITHER);
      expect(await passes(on.outside, bar)).toEqual(BOTH);
      expect(await reachesOut(foo1, on)).toEqual(BOTH);
      for (const one of [foo1, foo2, bar]) expect((await on.firewall("CHECK", one)).message).toBe("");
      await on.detach(bar);
      expect(await passes(a, foo2)).toEqual(BOTH);
    },
    30_000,
  );

  kernel(
    "isolated stops containers of one network too, and leaves them the host and the outside",
    async () => {
      await using on = await firewallSite(heddle);
      await hideFrames(on);
      const options = { backend, ingressPolicy: "isolated" };
      const [a, b, c] = [await on.container(), await on.container(), await on.container()];
      const [foo1, foo2] = [await on.attach(a, "foo", options), await on.attach(b, "foo", options)];
      const bar = await on.attach(c, "bar", options);
      expect(await passes(a, foo2)).toEqual(NEITHER);
      expect(await passes(b, foo1)).toEqual(NEITHER);
      expect(await passes(a, bar)).toEqual(NEITHER);
      expect(await seenFrom(a.path, on.home, "10.91.0.1", 80)).toBe(foo1.address4);
      expect(await passes(on.outside, foo1)).toEqual(BOTH);
      expect(await reachesOut(foo1, on)).toEqual(BOTH);
      expect((await on.firewall("CHECK", foo1)).message).toBe("");
    },
    30_000,
  );

  kernel("open stops nobody", async () => {
    await using on = await firewallSite(heddle);
    const [a, b] = [await on.container(), await on.container()];
    await on.attach(a, "foo", { backend, ingressPolicy: "open" });
    expect(await passes(a, await on.attach(b, "bar", { backend, ingressPolicy: "open" }))).toEqual(BOTH);
  });

  kernel("the rules of a bridge go with its last container, and those of others stay", async () => {
    await using on = await firewallSite(heddle);
    const options = { backend, ingressPolicy: "isolated" };
    const [a, b, c] = [await on.container(), await on.container(), await on.container()];
    const before = await on.attach(a, "foo", options);
    await on.detach(before);
    const empty = await on.host.snapshot();
    const filters = [await filter(on), await filter(on, 6)];
    const [foo1, foo2] = [await on.attach(a, "foo", options), await on.attach(b, "foo", options)];
    const bar = await on.attach(c, "bar", options);
    await on.detach(foo1);
    expect((await on.firewall("CHECK", foo2)).message).toBe("");
    await on.detach(foo2);
    expect((await on.host.snapshot()).filter((l) => l.startsWith("nft") && l.includes("foo0"))).toEqual([]);
    expect((await on.firewall("CHECK", bar)).message).toBe("");
    await on.detach(bar);
    await on.host.exec(["ip", "link", "delete", "bar0"]);
    expect([await filter(on), await filter(on, 6)]).toEqual(filters);
    expect((await on.host.snapshot()).filter((l) => !l.includes("bar0"))).toEqual([...empty]);
  });

  kernel("GC and the next ADD find what a container left whose record is lost", async () => {
    await using on = await firewallSite(heddle);
    const options = { backend, ingressPolicy: "isolated" };
    const a = await on.container();
    const one = await on.attach(a, "foo", options);
    const forget = (): Promise<unknown> => on.host.exec(["rm", "-rf", `${on.host.dir}/run/attachments`]);
    const left = async (): Promise<string[]> => [
      ...(await on.host.snapshot()).filter((l) => l.includes("heddle-firewall-")),
      ...(await rules(on)).filter((l) => l.includes(one.address4) || l.includes("foo0")),
    ];
    expect((await left()).length).toBeGreaterThan(0);
    await forget();
    expect((await on.firewall("GC", one, { "cni.dev/valid-attachments": [] })).message).toBe("");
    expect(await left()).toEqual([]);
    expect((await on.firewall("ADD", one)).message).toBe("");
    const whole = await left();
    await forget();
    expect((await on.firewall("ADD", one)).message).toBe("");
    expect(await left()).toEqual(whole);
    await forget();
    expect((await on.firewall("DEL", one, { prevResult: undefined })).message).toBe("");
    expect(await left()).toEqual([]);
  });
});

describe.each(["nftables", "iptables"])("behind the gateway of a VLAN, by %s", (backend) => {
  inVlans(
    "same-bridge stops what the host routes from another network, and CHECK looks at that",
    async () => {
      await using on = await firewallSite(heddle, {}, { vlan: 100 });
      await hideFrames(on);
      const options = { backend, ingressPolicy: "same-bridge" };
      const [a, b, c] = [await on.container(), await on.container(), await on.container()];
      const [foo1, foo2] = [await on.attach(a, "foo", options), await on.attach(b, "foo", options)];
      const bar = await on.attach(c, "bar", options);
      expect(await passes(a, foo2)).toEqual(BOTH);
      expect(await passes(a, bar)).toEqual(NEITHER);
      expect(await passes(c, foo1)).toEqual(NEITHER);
      expect(await passes(on.outside, bar)).toEqual(BOTH);
      expect(await reachesOut(foo1, on)).toEqual(BOTH);
      for (const one of [foo1, foo2, bar]) expect((await on.firewall("CHECK", one)).message).toBe("");
      for (const one of [foo1, foo2]) await on.detach(one);
      expect((await on.host.snapshot()).filter((l) => l.startsWith("nft") && l.includes("foo0"))).toEqual([]);
      await on.detach(bar);
      expect((await rules(on)).filter((l) => l.includes("bar0"))).toEqual([]);
    },
  );

  inVlans("isolated stops those of the same VLAN too", async () => {
    await using on = await firewallSite(heddle, {}, { vlan: 100 });
    await hideFrames(on);
    const options = { backend, ingressPolicy: "isolated" };
    const [a, b, c] = [await on.container(), await on.container(), await on.container()];
    const [foo1, foo2] = [await on.attach(a, "foo", options), await on.attach(b, "foo", options)];
    const bar = await on.attach(c, "bar", options);
    expect(await passes(a, foo2)).toEqual(NEITHER);
    expect(await passes(b, foo1)).toEqual(NEITHER);
    expect(await passes(a, bar)).toEqual(NEITHER);
    expect(await seenFrom(a.path, on.home, "10.91.0.1", 80)).toBe(foo1.address4);
    expect(await passes(on.outside, foo1)).toEqual(BOTH);
  });
});

describe("without a backend in the configuration", () => {
  kernel("nothing is made where nobody drops", async () => {
    await using on = await firewallSite(heddle);
    const one = await on.attach(await on.container(), "foo", {});
    expect(await tables(on)).toBe("");
    expect((await on.firewall("CHECK", one)).message).toBe("");
  });

  kernel("iptables lets the container through where its FORWARD chain drops", async () => {
    await using on = await firewallSite(heddle);
    await dropForwarded(on);
    const netns = await on.container();
    const bare = await on.attach(netns, "foo");
    expect(await reachesOut(bare, on)).toEqual(NEITHER);
    const before = [await filter(on), await filter(on, 6)];
    expect((await on.firewall("ADD", bare)).message).toBe("");
    expect(await reachesOut(bare, on)).toEqual(BOTH);
    expect((await on.firewall("CHECK", bare)).message).toBe("");
    expect((await on.firewall("DEL", bare, { prevResult: undefined })).message).toBe("");
    expect(await reachesOut(bare, on)).toEqual(NEITHER);
    const chains = [":CNI-ADMIN - [0:0]", ":CNI-FORWARD - [0:0]", ":CNI-FORWARD-OWNERS - [0:0]"];
    const shared = [
      '-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD',
      '-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN',
    ];
    expect([await filter(on), await filter(on, 6)]).toEqual(before.map((b) => [...chains, ...b, ...shared]));
  });

  kernel.each([
    ["a last rule that refuses everything", ["-A", "FORWARD", "-j", "REJECT"]],
    ["Docker's chains", ["-N", "DOCKER-USER"]],
  ])("%s of iptables is seen", async (_, words) => {
    await using on = await firewallSite(heddle);
    await on.host.exec(["iptables-nft", "-A", "FORWARD", "-i", "docker0", "-j", "ACCEPT"]);
    await on.host.exec(["iptables-nft", ...words]);
    await on.attach(await on.container(), "foo", {});
    expect((await rules(on)).join("\n")).toContain("-j CNI-FORWARD");
  });

  kernel("a chain of iptables that only accepts is left alone", async () => {
    await using on = await firewallSite(heddle);
    await on.host.exec(["iptables-nft", "-A", "FORWARD", "-i", "docker0", "-j", "ACCEPT"]);
    await on.host.exec(["iptables-nft", "-A", "FORWARD", "-s", "198.51.100.0/24", "-j", "DROP"]);
    const before = await filter(on);
    await on.attach(await on.container(), "foo", {});
    expect(await filter(on)).toEqual(before);
  });
});

describe("the iptables backend", () => {
  kernel("asks the operator's chain first", async () => {
    await using on = await firewallSite(heddle);
    await dropForwarded(on);
    const a = await on.attach(await on.container(), "foo", { iptablesAdminChainName: "MY-OWN" });
    for (const program of ["iptables-nft", "ip6tables-nft"])
      await on.host.exec([program, "-A", "MY-OWN", "-p", "tcp", "--dport", "80", "-j", "DROP"]);
    expect(await reachesOut(a, on)).toEqual(NEITHER);
    expect((await on.firewall("CHECK", a)).message).toBe("");
    await on.detach(a);
    expect((await rules(on)).join("\n")).toContain("-A MY-OWN -p tcp -m tcp --dport 80 -j DROP");
  });

  kernel("two attachments with one address have a rule each, and each takes its own away", async () => {
    await using on = await firewallSite(heddle);
    const one = await on.attach(await on.container(), "foo", { backend: "iptables" });
    const two = { ...one, netns: await on.container(), conf: { ...one.conf, name: "other" } };
    expect((await on.firewall("ADD", two)).message).toBe("");
    expect((await on.firewall("DEL", one)).message).toBe("");
    expect((await on.firewall("CHECK", two)).message).toBe("");
    expect((await on.firewall("DEL", two)).message).toBe("");
    expect((await filter(on)).join("\n")).not.toContain(one.address4);
  });

  kernel("CHECK names what is missing, and makes nothing", async () => {
    await using on = await firewallSite(heddle);
    const one = await on.attach(await on.container(), "foo", {
      backend: "iptables",
      ingressPolicy: "isolated",
    });
    const damages = [
      ["-D", "CNI-FORWARD", "-s", `${one.address4}/32`, "-j", "ACCEPT"],
      ["-F", "FORWARD"],
      ["-F", "CNI-ISOLATION-STAGE-2"],
      ["-F"],
    ];
    for (const words of damages) {
      await on.host.exec(["iptables-nft", ...words]);
      const before = await filter(on);
      const reply = await on.firewall("CHECK", one);
      expect([reply.error, reply.message.includes("iptables filter")]).toEqual([103, true]);
      expect(await filter(on)).toEqual(before);
      expect((await on.host.cli(["reload"], {})).code).toBe(0);
      expect((await on.firewall("CHECK", one)).message).toBe("");
    }
    await on.detach(one);
    expect((await rules(on)).filter((l) => l.includes("foo0"))).toEqual([]);
  });

  kernel("touches no table of a family that the container has no address of", async () => {
    await using on = await firewallSite(heddle);
    const one = await on.attach(await on.container(), "foo");
    const ips = (one.result["ips"] as readonly Record<string, unknown>[]).slice(0, 1);
    const four = { ...one, result: { ...one.result, ips } };
    const options = { backend: "iptables", ingressPolicy: "isolated" };
    expect((await on.firewall("ADD", four, options)).message).toBe("");
    expect(await tables(on)).not.toContain("ip6");
    expect((await on.firewall("CHECK", four, options)).message).toBe("");
  });
});

describe("STATUS", () => {
  kernel("names a chain that goes on to drop, and fails for a firewalld that does not run", async () => {
    await using on = await firewallSite(heddle);
    const one = await on.attach(await on.container(), "foo");
    await on.host.exec(["nft", "-f", "-"], {
      stdin:
        "table inet own {\nchain forward { type filter hook forward priority filter; policy drop; }\n}\n",
    });
    const call = (conf: object) =>
      on.host.exec([heddle.at("firewall")], {
        env: {
          CNI_COMMAND: "STATUS",
          PATH: "/usr/sbin:/usr/bin",
          DBUS_SYSTEM_BUS_ADDRESS: "unix:path=/nonexistent",
        },
        stdin: JSON.stringify({ ...one.conf, ...conf }),
        mustSucceed: false,
      });
    const open = await call({});
    expect([open.code, open.stderr.includes("chain forward of table inet own drops")]).toEqual([0, true]);
    const absent = await call({ backend: "firewalld" });
    expect(JSON.parse(absent.stdout)).toMatchObject({
      code: 50,
      msg: expect.stringContaining("firewalld does not run"),
    });
  });
});
