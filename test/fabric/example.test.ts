/** What examples/etcd/ tells people to place on their hosts is what Heddle reads, and runs as the unit that ships. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { projectDir } from "../../scripts/paths.ts";
import { readAgentConfig } from "../../src/cli/agent/config.ts";
import { parseNetworkList } from "../../src/cni/list.ts";
import { pluginTypes } from "../../src/plugins/registry.ts";
import { parseNetworkConfig } from "../../src/providers/flannel/config.ts";
import { parseFlanneld } from "../../src/providers/flannel/options.ts";
import { unit, unitOf } from "../../src/testing/systemd-unit.ts";

const example = (name: string): string => readFileSync(`${projectDir}/examples/etcd/${name}`, "utf8");
const page = example("README.md");
const shipped = unit("heddle-agent.service");

describe("the example with etcd", () => {
  test("has a network that hosts can join", () => {
    const { v4, backend } = parseNetworkConfig(example("net-conf.json"));
    expect([v4?.network.text, backend.type]).toEqual(["10.244.0.0/16", "vxlan"]);
  });

  test("has a configuration that the agent reads", () => {
    const { flannel, http } = readAgentConfig(example("agent.json"), () => "", "host1");
    expect(flannel.store).toMatchObject({ kind: "etcd", prefix: "/coreos.com/network" });
    expect(http?.port).toBe(Number(/127\.0\.0\.1:(\d+)\/metrics/.exec(page)?.[1]));
  });

  test("has a list whose plugins there are", () => {
    const list = parseNetworkList(example("10-flannel.conflist"), "10-flannel.conflist", () => []);
    expect(list.plugins.map(({ type }) => pluginTypes.some((own) => own === type))).toEqual([true, true]);
  });

  test("places every file where it is read", () => {
    const [, config] = / --config (\S+)/.exec(shipped.get("Service")?.get("ExecStart")?.[0] ?? "") ?? [];
    expect(page).toContain(`install -D -m 600 agent.json ${config}\n`);
    expect(page).toContain("install -D -m 644 10-flannel.conflist /etc/cni/net.d/");
    expect(page).toContain(
      "packaging/systemd/heddle-agent.service /etc/systemd/system/heddle-agent.service\n",
    );
  });

  test("has a unit in place of flanneld's that differs from the agent's in what it starts", () => {
    const service = new Map(unitOf("flanneld.service", example("flanneld.service")).get("Service"));
    const [program, command, ...flags] = service.get("ExecStart")?.[0]?.split(" ") ?? [];
    expect([program, command]).toEqual(["/opt/cni/bin/heddle", "flanneld"]);
    const told = [...page.matchAll(/`(FLANNELD_\w+)=(\w+)`/g)].map(([, key = "", value = ""]) => [
      key,
      value,
    ]);
    const call = parseFlanneld(flags, Object.fromEntries(told) as Record<string, string>);
    const options = call.kind === "run" ? call.options : undefined;
    expect([options?.external.names, options?.masquerade !== undefined]).toEqual([["eth1"], true]);
    expect(service.get("EnvironmentFile")).toEqual(["-/etc/default/flanneld"]);
    const own = new Map(shipped.get("Service"));
    for (const key of ["ExecStart", "EnvironmentFile"]) for (const map of [service, own]) map.delete(key);
    expect(service).toEqual(own);
  });
});
