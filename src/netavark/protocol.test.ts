/** The plugin's four words: what each prints, and how it fails. */
import { describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { cidr, ip } from "../testing/address.ts";
import { answer, type ConnectionKey, type Work } from "./protocol.ts";
import { isNetavarkWord } from "./words.ts";

const NETNS = "/run/netns/x";
const KEY: ConnectionKey = { network: "web", containerId: "c1", ifname: "eth0" };

const input = (network: object = {}) =>
  JSON.stringify({
    container_id: "c1",
    container_name: "one",
    port_mappings: null,
    network: {
      name: "web",
      id: "ab".repeat(32),
      network_interface: "web0",
      subnets: [{ subnet: "10.7.0.0/24", gateway: "10.7.0.1" }],
      ...network,
    },
    network_options: { interface_name: "eth0", static_ips: ["10.7.0.5"] },
  });

/** What was asked of the system, and what it answers. */
function recorded(more: Partial<Work> = {}): { readonly work: Work; readonly asked: unknown[] } {
  const asked: unknown[] = [];
  const work: Work = {
    uplink: () => undefined,
    inUse: () => [],
    random: () => new Uint8Array(8),
    setup: async ({ containerId }, netns) => {
      asked.push(["setup", containerId, netns]);
      return {
        interfaces: [{ name: "web0" }, { name: "eth0", mac: "02:00:00:00:00:01", sandbox: NETNS }],
        ips: [{ address: cidr("10.7.0.5/24"), gateway: ip("10.7.0.1"), interface: 1 }],
        routes: [],
        dns: { nameservers: ["10.7.0.53"], search: ["lan"] },
      };
    },
    teardown: async (key, netns, connection) =>
      void asked.push(["teardown", key, netns, connection?.ips.length]),
    ...more,
  };
  return { work, asked };
}
const ask = (
  word: Parameters<typeof answer>[0],
  stdin: string,
  work: Work,
  netns: string | undefined = NETNS,
) => answer(word, netns, () => stdin, work);

describe("a plugin of netavark", () => {
  test("says its version without reading anything", async () => {
    const stdin = (): string => {
      throw new Error("read");
    };
    const { code, stdout } = await answer("info", undefined, stdin, recorded().work);
    expect({ code, said: JSON.parse(stdout) as unknown }).toEqual({
      code: 0,
      said: { version: expect.any(String), api_version: "1.0.0" },
    });
  });

  test("prints a network that is complete", async () => {
    const { code, stdout } = await ask("create", JSON.stringify({ name: "web", id: "ab" }), recorded().work);
    expect({ code, network: JSON.parse(stdout) as unknown }).toMatchObject({
      code: 0,
      network: { name: "web", id: "ab", network_interface: "br-ab", dns_enabled: false },
    });
  });

  test("prints the container's interface", async () => {
    const { work, asked } = recorded();
    const { code, stdout } = await ask("setup", input(), work);
    expect({ code, status: JSON.parse(stdout) as unknown, asked }).toEqual({
      code: 0,
      status: {
        dns_search_domains: ["lan"],
        dns_server_ips: ["10.7.0.53"],
        interfaces: {
          eth0: {
            mac_address: "02:00:00:00:00:01",
            subnets: [{ ipnet: "10.7.0.5/24", gateway: "10.7.0.1" }],
          },
        },
      },
      asked: [["setup", "c1", NETNS]],
    });
  });

  test("tells of no gateway in an internal network", async () => {
    const { stdout } = await ask("setup", input({ internal: true }), recorded().work);
    expect(JSON.parse(stdout)).toMatchObject({
      interfaces: { eth0: { subnets: [{ ipnet: "10.7.0.5/24" }] } },
    });
    expect(stdout).not.toContain('"gateway"');
  });

  test("disconnects whom it can name, also if the network can no longer be read", async () => {
    const { work, asked } = recorded();
    expect(await ask("teardown", input(), work)).toEqual({ code: 0, stdout: "", about: KEY });
    await ask("teardown", input({ options: { gone: "1" } }), work);
    expect(asked).toEqual([
      ["teardown", KEY, NETNS, 1],
      ["teardown", KEY, NETNS, undefined],
    ]);
  });

  test("is told by its first word", () => {
    expect(["info", "create", "setup", "teardown"].every(isNetavarkWord)).toBe(true);
    expect([undefined, "", "cni", "Setup"].some(isNetavarkWord)).toBe(false);
  });
});

describe("a call that fails", () => {
  test("prints one sentence as netavark's error, with what to do about it", async () => {
    const failing = recorded({
      setup: async () => {
        throw new NetError("port/taken", { port: "8080/tcp", owner: "container c2" });
      },
    });
    const { code, stdout, about } = await ask("setup", input(), failing.work);
    expect({ code, about, said: JSON.parse(stdout) as unknown }).toEqual({
      code: 1,
      about: KEY,
      said: {
        error: expect.stringMatching(/8080\/tcp is taken by container c2.*; choose another host port/),
      },
    });
  });

  const refused: Readonly<Record<string, [string, ...Parameters<typeof ask>]>> = {
    "without JSON": ["standard input", "create", "{", recorded().work],
    "with a list": ["standard input", "setup", "[]", recorded().work],
    "without a namespace": [
      "setup needs the absolute path of a network namespace",
      "setup",
      input(),
      recorded().work,
      "",
    ],
    "with a relative namespace": [
      "teardown needs the absolute path",
      "teardown",
      input(),
      recorded().work,
      "x",
    ],
    "without a container": ["container_id: is missing", "teardown", "{}", recorded().work],
    "with a path as the network's name": [
      "must begin with a letter or a digit",
      "teardown",
      input({ name: "../x" }),
      recorded().work,
    ],
  };
  test.each(Object.entries(refused))("is refused %s", async (_, [why, ...words]) => {
    const { code, stdout } = await ask(...words);
    expect({ code, said: JSON.parse(stdout) as unknown }).toEqual({
      code: 1,
      said: { error: expect.stringContaining(why) },
    });
  });
});
