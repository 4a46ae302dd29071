/** The child that works in a container's namespace: it does nothing in any other, and says so. */
import { describe, expect } from "bun:test";
import type { Terms } from "../../src/dhcp/model.ts";
import { statPath } from "../../src/sys/files.ts";
import { identifyNetns } from "../../src/netstate/alive.ts";
import { type HeddleBinary, heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { testNetns, type TestNetns } from "../../src/testing/netns.ts";
import { run } from "../../src/testing/run.ts";

const heddle = heddleOfFile();

const rootTest = testWith({ root: true, programs: ["ip"] });
const terms: Terms = {
  family: 6,
  address: "fd00::5/128",
  server: "00",
  nameservers: [],
  search: [],
  leaseSeconds: 60,
  renewSeconds: 30,
  rebindSeconds: 50,
};

async function child(heddle: HeddleBinary, task: unknown): Promise<Record<string, unknown>> {
  const stdin = typeof task === "string" ? task : JSON.stringify(task);
  const { stdout } = await run([heddle.at("heddle"), "dhcp-exchange"], { stdin });
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** Takes the address of `terms` off `eth0`, which the namespace has. */
async function withdrawal(container: TestNetns) {
  await run(["ip", "-n", container.name, "link", "add", "eth0", "type", "bridge"]);
  await run(["ip", "-n", container.name, "address", "add", "fd00::5/128", "dev", "eth0", "nodad"]);
  const { stdout } = await run(["ip", "-n", container.name, "-j", "link", "show", "eth0"]);
  const [link] = JSON.parse(stdout) as readonly { readonly ifindex: number; readonly address: string }[];
  const netns = identifyNetns(container.path);
  if (link === undefined || netns === undefined) throw new Error("the test's namespace is not there");
  return {
    kind: "withdraw",
    netns,
    ifname: "eth0",
    client: { id: "00", options: [], request: [], broadcast: false },
    link: { index: link.ifindex, mac: link.address },
    terms,
  };
}
const hasAddress = async (container: TestNetns): Promise<boolean> =>
  (await run(["ip", "-n", container.name, "address", "show", "dev", "eth0"])).stdout.includes("fd00::5/128");

describe("the child", () => {
  rootTest("takes an address off the interface that is meant", async () => {
    await using container = await testNetns();
    const task = await withdrawal(container);
    expect(await child(heddle, task)).toEqual({ kind: "done" });
    expect(await hasAddress(container)).toBe(false);
    // Twice is no matter.
    expect(await child(heddle, task)).toEqual({ kind: "done" });
  });

  rootTest("follows an interface that was renamed", async () => {
    await using container = await testNetns();
    const task = await withdrawal(container);
    await run(["ip", "-n", container.name, "link", "set", "eth0", "name", "lan0"]);
    expect(await child(heddle, task)).toEqual({ kind: "done" });
    expect((await run(["ip", "-n", container.name, "address"])).stdout).not.toContain("fd00::5");
  });

  rootTest.each([
    ["another inode", (n: { ino: number }) => ({ ...n, ino: n.ino + 1 })],
    ["another device", (n: { dev: number }) => ({ ...n, dev: n.dev + 1 })],
    ["another cookie", (n: object) => ({ ...n, cookie: "1" })],
    ["nothing at the path", (n: { path: string }) => ({ ...n, path: `${n.path}-not` })],
  ] as const)("does nothing in a namespace with %s", async (_, changed) => {
    await using container = await testNetns();
    const task = await withdrawal(container);
    const answer = await child(heddle, { ...task, netns: changed(task.netns) });
    expect(answer["kind"]).toBe("gone");
    expect(await hasAddress(container)).toBe(true);
  });

  rootTest("does nothing to a file that is no namespace", async () => {
    await using container = await testNetns();
    const task = await withdrawal(container);
    const file = statPath("/etc/passwd");
    const netns = { path: "/etc/passwd", dev: Number(file?.dev), ino: Number(file?.ino) };
    const answer = await child(heddle, { ...task, netns });
    expect(answer).toMatchObject({ kind: "failed", code: "netns/invalid" });
  });

  rootTest("does nothing to another interface of that name", async () => {
    await using container = await testNetns();
    const task = await withdrawal(container);
    const answer = await child(heddle, { ...task, link: { ...task.link, index: task.link.index + 7 } });
    expect(answer["kind"]).toBe("gone");
    expect(await hasAddress(container)).toBe(true);
  });

  rootTest.each([
    ["nothing", ""],
    ["no JSON", "x"],
    ["an unknown task", '{"kind":"format"}'],
    [
      "a task without its lease",
      '{"kind":"release","netns":{"path":"/x","dev":1,"ino":1},"ifname":"a","client":{"id":"","options":[],"request":[],"broadcast":false}}',
    ],
  ])("answers %s with an error", async (_, text) => {
    expect(await child(heddle, text)).toMatchObject({ kind: "failed", code: "decode/malformed" });
  });
});
