/** What the executable does on hosts and at moments that are out of the ordinary. */
import { expect } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type CniHost, cniHost } from "../src/testing/cni-host.ts";
import { heddleOfFile } from "../src/testing/executable.ts";
import { testWith } from "../src/testing/needs.ts";
import { testNetns } from "../src/testing/netns.ts";
import { run } from "../src/testing/run.ts";

const heddle = heddleOfFile();

const hostTest = testWith({ root: true, programs: ["ip", "nft", "iptables-restore", "nsenter", "unshare"] });
const straceTest = testWith({
  root: true,
  programs: ["ip", "nft", "iptables-restore", "nsenter", "unshare", "strace"],
});
const PORT_TAKEN = 102;
const ENVIRONMENT = 4;
const EXISTS = 104;

const bridge = (host: CniHost, more: object = {}) => ({
  cniVersion: "1.0.0",
  name: "lan",
  type: "bridge",
  bridge: "br7",
  ipMasq: true,
  ipam: { type: "host-local", subnet: "10.77.0.0/24", dataDir: `${host.dir}/ipam` },
  ...more,
});

const portmap = (backend: string, address: string) => ({
  cniVersion: "1.0.0",
  name: "ports",
  type: "portmap",
  backend,
  runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] },
  prevResult: {
    cniVersion: "1.0.0",
    interfaces: [{ name: "eth0", sandbox: "/run/netns/x" }],
    ips: [{ address: `${address}/24`, interface: 0 }],
  },
});

/** Two seconds between the last rule and the commit of the first ADD; it ends earlier if nobody waits for it. */
const slowCommit = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=rename"].concat(
  "-e",
  "inject=rename:delay_enter=2000000",
);

for (const [backend, shown] of [
  ["nftables", ["nft", "list", "map", "inet", "heddle", "ports4"]],
  ["iptables", ["iptables-save", "-t", "nat"]],
] as const)
  straceTest(
    `a port of an ADD that has made its rules and is not done yet is taken (${backend})`,
    async () => {
      await using host = await cniHost(heddle);
      await using one = await testNetns();
      await using two = await testNetns();
      const add = { command: "ADD", ifname: "eth0" } as const;
      const first = host.call(
        "portmap",
        { ...add, containerId: "first", netns: one.path },
        portmap(backend, "10.9.0.2"),
        slowCommit,
      );
      const rules = async (): Promise<string> => (await host.exec(shown, { mustSucceed: false })).stdout;
      while (!(await rules()).includes("10.9.0.2"));
      const second = await host.call(
        "portmap",
        { ...add, containerId: "second", netns: two.path },
        portmap(backend, "10.9.0.3"),
      );
      expect(second.error).toBe(PORT_TAKEN);
      expect(second.message).toContain("first");
      expect((await first).message).toBe("");
      expect(await rules()).toContain("10.9.0.2");
      expect(await rules()).not.toContain("10.9.0.3");
    },
  );

hostTest("a host without IPv6 attaches containers with IPv4", async () => {
  await using host = await cniHost(heddle);
  await using one = await testNetns();
  // As after a start with `ipv6.disable=1`: no parameter of IPv6 exists.
  await host.exec(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
  await host.exec(["mount", "--bind", "/mnt", "/proc/sys/net/ipv6"]);
  const call = { containerId: "c1", netns: one.path, ifname: "eth0" };
  for (const type of ["bridge", "ptp"]) {
    const conf = bridge(host, { type, isGateway: true });
    expect((await host.call(type, { command: "ADD", ...call }, conf)).message).toBe("");
    expect((await host.call(type, { command: "DEL", ...call }, conf)).message).toBe("");
  }
});

hostTest("a bridge that was made without an address keeps the one in the result", async () => {
  await using host = await cniHost(heddle);
  await using one = await testNetns();
  await using two = await testNetns();
  await host.exec(["ip", "link", "add", "br7", "type", "bridge"]);
  const macNow = async (): Promise<string> =>
    (JSON.parse((await host.exec(["ip", "-j", "link", "show", "br7"])).stdout) as { address: string }[])[0]
      ?.address ?? "";
  const before = await macNow();
  const conf = bridge(host);
  const call = { containerId: "c1", netns: one.path, ifname: "eth0" };
  const { result, message } = await host.call("bridge", { command: "ADD", ...call }, conf);
  expect(message).toBe("");
  const other = { ...call, containerId: "c2", netns: two.path };
  expect((await host.call("bridge", { command: "ADD", ...other }, conf)).message).toBe("");
  expect((await host.call("bridge", { command: "DEL", ...other }, conf)).message).toBe("");
  expect(await macNow()).toBe(before);
  expect(result).toMatchObject({ interfaces: [{ name: "br7", mac: before }, {}, {}] });
  const check = { ...conf, prevResult: result };
  expect((await host.call("bridge", { command: "CHECK", ...call }, check)).message).toBe("");
});

hostTest("reload puts rules back under a bridge that has got another address", async () => {
  await using host = await cniHost(heddle);
  await using one = await testNetns();
  const call = { containerId: "c1", netns: one.path, ifname: "eth0" };
  const conf = bridge(host);
  expect((await host.call("bridge", { command: "ADD", ...call }, conf)).message).toBe("");
  await host.exec(["ip", "link", "set", "br7", "address", "02:00:00:00:00:77"]);
  await host.exec(["nft", "flush", "ruleset"]);
  const { code, stdout } = await host.cli(["reload"], {});
  expect(stdout).toContain("restored");
  expect(code).toBe(0);
  expect((await host.exec(["nft", "list", "map", "inet", "heddle", "masquerade4"])).stdout).toContain(
    "10.77.0.2",
  );
});

hostTest("reload takes nothing from a container when something cannot be put back", async () => {
  await using host = await cniHost(heddle);
  await using one = await testNetns();
  const call = { containerId: "c1", netns: one.path, ifname: "eth0" };
  const conf = bridge(host, { isGateway: true });
  expect((await host.call("bridge", { command: "ADD", ...call }, conf)).message).toBe("");
  // Forwarding was switched off, and cannot be switched on again.
  await host.exec(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
  await host.exec(["sysctl", "-qw", "net.ipv4.ip_forward=0"]);
  await host.exec(["cp", "/proc/sys/net/ipv4/ip_forward", "/mnt/off"]);
  await host.exec(["mount", "--bind", "-o", "ro", "/mnt/off", "/proc/sys/net/ipv4/ip_forward"]);
  const { code, stdout, stderr } = await host.cli(["reload"], {});
  expect(code).not.toBe(0);
  expect(stdout + stderr).toContain("ip_forward");
  expect((await host.exec(["nft", "list", "map", "inet", "heddle", "masquerade4"])).stdout).toContain(
    "10.77.0.2",
  );
});

hostTest("DEL succeeds when of the namespace only the file is left that it was mounted on", async () => {
  await using host = await cniHost(heddle);
  await host.exec(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]);
  await host.exec(["touch", "/mnt/ns"]);
  await host.exec(["unshare", "--net=/mnt/ns", "true"]);
  const call = { containerId: "c1", netns: "/mnt/ns", ifname: "eth0" };
  const conf = bridge(host);
  expect((await host.call("bridge", { command: "ADD", ...call }, conf)).message).toBe("");
  await host.exec(["umount", "/mnt/ns"]);
  expect((await host.call("bridge", { command: "DEL", ...call }, conf)).message).toBe("");
  expect((await host.exec(["ls", `${host.dir}/run/attachments`])).stdout).toBe("");
});

hostTest("DEL of a network that was refused an interface leaves it to the network that has it", async () => {
  await using host = await cniHost(heddle);
  await using one = await testNetns();
  const call = { containerId: "c1", netns: one.path, ifname: "eth0" };
  const conf = bridge(host);
  const other = bridge(host, { name: "other" });
  expect((await host.call("bridge", { command: "ADD", ...call }, conf)).message).toBe("");
  expect((await host.call("bridge", { command: "ADD", ...call }, other)).error).toBe(EXISTS);
  expect((await host.call("bridge", { command: "DEL", ...call }, other)).message).toBe("");
  expect((await run(["ip", "-n", one.name, "link", "show", "eth0"])).stdout).toContain("UP");
});

hostTest("a name that the kernel takes for a pattern is refused", async () => {
  await using host = await cniHost(heddle);
  await using one = await testNetns();
  const call = { command: "ADD", containerId: "c1", netns: one.path } as const;
  expect((await host.call("bridge", { ...call, ifname: "eth%d" }, bridge(host))).error).toBe(ENVIRONMENT);
  const pattern = bridge(host, { bridge: "br%d" });
  expect((await host.call("bridge", { ...call, ifname: "eth0" }, pattern)).message).toContain("br%d");
  expect((await host.exec(["ip", "-br", "link"])).stdout.trim().split("\n")).toHaveLength(1);
});

hostTest("ADD and DEL of a network with a name too long for a directory leave nothing", async () => {
  await using host = await cniHost(heddle);
  await using one = await testNetns();
  const call = { containerId: "c1", netns: one.path, ifname: "eth0" };
  const conf = bridge(host, { name: "x".repeat(300) });
  expect((await host.call("bridge", { command: "ADD", ...call }, conf)).message).toContain("ENAMETOOLONG");
  expect((await host.exec(["ls", `${host.dir}/run/attachments`])).stdout).toBe("");
  expect((await host.call("bridge", { command: "DEL", ...call }, conf)).message).toBe("");
});

hostTest(
  "with enabledad an address that the network has already fails ADD; others are usable after it",
  async () => {
    await using host = await cniHost(heddle);
    await using one = await testNetns();
    await using two = await testNetns();
    const conf = bridge(host, {
      ipMasq: false,
      enabledad: true,
      ipam: { type: "static", addresses: [{ address: "fd00:7::5/64" }] },
    });
    const call = { command: "ADD", ifname: "eth0" } as const;
    expect((await host.call("bridge", { ...call, containerId: "c1", netns: one.path }, conf)).message).toBe(
      "",
    );
    const shown = await run([
      "ip",
      "-n",
      one.name,
      "-6",
      "-o",
      "addr",
      "show",
      "dev",
      "eth0",
      "scope",
      "global",
    ]);
    expect(shown.stdout).toContain("fd00:7::5/64");
    expect(shown.stdout).not.toContain("tentative");
    const refused = await host.call("bridge", { ...call, containerId: "c2", netns: two.path }, conf);
    expect(refused.error).toBe(EXISTS);
    expect(refused.message).toContain("fd00:7::5");
    expect((await run(["ip", "-n", two.name, "-br", "link"])).stdout).not.toContain("eth0");
  },
);

hostTest("a bridge with the spanning tree protocol gets ports without a wait for its decision", async () => {
  await using host = await cniHost(heddle);
  await using one = await testNetns();
  await host.exec(["ip", "link", "add", "br7", "type", "bridge", "stp_state", "1"]);
  const call = { containerId: "c1", netns: one.path, ifname: "eth0" };
  expect((await host.call("bridge", { command: "ADD", ...call }, bridge(host))).message).toBe("");
});

hostTest(
  "DEL goes by the marks when the record makes no sense, and says who can read one of a later release",
  async () => {
    await using host = await cniHost(heddle);
    await using one = await testNetns();
    const call = { containerId: "c1", netns: one.path, ifname: "eth0" };
    const conf = bridge(host);
    expect((await host.call("bridge", { command: "ADD", ...call }, conf)).message).toBe("");
    const dir = `${host.dir}/run/attachments`;
    const file = `${dir}/${readdirSync(dir)[0]}`;
    const [head = "", ...rest] = readFileSync(file, "utf8").split("\n");
    writeFileSync(file, [head, '{"state":{"objects":[{"kind":"later"}]}}', ""].join("\n"));
    const later = await host.call("bridge", { command: "DEL", ...call }, conf);
    expect(later.message).toContain("the release that made the attachment");
    expect(readdirSync(dir)).toHaveLength(1);
    writeFileSync(file, [head, '{"state":{}}', ...rest.slice(1)].join("\n"));
    expect((await host.call("bridge", { command: "DEL", ...call }, conf)).message).toBe("");
    expect((await host.exec(["ip", "-br", "link"])).stdout).not.toContain("veth");
    expect((await host.exec(["nft", "list", "map", "inet", "heddle", "masquerade4"])).stdout).not.toContain(
      "10.77",
    );
    expect(readdirSync(dir)).toEqual([]);
  },
);

straceTest("DEL and GC have nothing to do in the firewall of a kernel that has none", async () => {
  await using host = await cniHost(heddle);
  // The first socket is for routes, every other one for netfilter.
  const fault = "inject=socket:error=EPROTONOSUPPORT:when=2+";
  const under = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=socket", "-e", fault];
  const conf = { ...bridge(host, { ipMasq: false }), cniVersion: "1.1.0" };
  const del = { command: "DEL", containerId: "gone", ifname: "eth0" } as const;
  expect((await host.call("bridge", del, conf, under)).message).toBe("");
  expect((await host.call("bridge", { command: "GC" }, conf, under)).message).toBe("");
});

hostTest("CHECK finds a route of the container that leads over another interface now", async () => {
  await using host = await cniHost(heddle);
  await using one = await testNetns();
  const { ipam } = bridge(host);
  const conf = bridge(host, { isGateway: true, ipam: { ...ipam, routes: [{ dst: "192.0.2.0/24" }] } });
  const call = { containerId: "c1", netns: one.path, ifname: "eth0" };
  const { result, message } = await host.call("bridge", { command: "ADD", ...call }, conf);
  expect(message).toBe("");
  const check = { ...conf, prevResult: result };
  expect((await host.call("bridge", { command: "CHECK", ...call }, check)).message).toBe("");
  const stdin = [
    "link add d0 type veth peer name d1",
    "link set d0 up",
    "link set d1 up",
    "addr add 10.77.0.77/24 dev d0",
    "route del 192.0.2.0/24",
    "route add 192.0.2.0/24 via 10.77.0.1 dev d0",
  ].join("\n");
  await run(["ip", "-n", one.name, "-batch", "-"], { stdin });
  expect((await host.call("bridge", { command: "CHECK", ...call }, check)).message).toContain("192.0.2.0/24");
});

/** Every request is sent late, so that two processes that start together have read before either of them writes. */
const slowRequests = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=sendto"].concat(
  "-e",
  "inject=sendto:delay_enter=100000",
);

straceTest(
  "what a bridge's containers share goes with the last of them, also if two go at once",
  async () => {
    await using host = await cniHost(heddle);
    const shared = async (): Promise<readonly string[]> =>
      [...(await host.exec(["nft", "list", "ruleset"])).stdout.matchAll(/(?:isolate|masq)_\S+ {/g)].map(
        ([chain]) => chain,
      );
    const policy = {
      cniVersion: "1.0.0",
      name: "lan",
      type: "firewall",
      backend: "nftables",
      ingressPolicy: "isolated",
    };
    const containers = await Promise.all([testNetns(), testNetns()]);
    await using _one = containers[0];
    await using _two = containers[1];
    const calls = containers.map(({ name, path }) => ({ containerId: name, netns: path, ifname: "eth0" }));
    for (const call of calls) {
      const { result } = await host.call("bridge", { command: "ADD", ...call }, bridge(host));
      const added = await host.call(
        "firewall",
        { command: "ADD", ...call },
        { ...policy, prevResult: result },
      );
      expect(added.message).toBe("");
    }
    expect(await shared()).toHaveLength(2);
    for (const [type, conf] of [
      ["firewall", policy],
      ["bridge", bridge(host)],
    ] as const) {
      const gone = calls.map((call) => host.call(type, { command: "DEL", ...call }, conf, slowRequests));
      for (const { message } of await Promise.all(gone)) expect(message).toBe("");
    }
    expect(await shared()).toEqual([]);
  },
);
