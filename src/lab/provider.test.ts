import { describe, expect, test } from "bun:test";
import { isNetError } from "../errors.ts";
import { backendTypes } from "../providers/flannel/provider.ts";
import type { LabSpec } from "./model.ts";
import { providerOf, type Setup } from "./provider.ts";
import { planUnderlay } from "./underlay.ts";

const SHARED = "/run/heddle/lab/lab/shared";
const spec: LabSpec = {
  name: "lab",
  hosts: 2,
  underlay: "flat",
  subnets: 1,
  ip: "dual",
  mtuBytes: 1500,
  offload: true,
  provider: "none",
  backend: "",
  store: "file",
};
function setups(change: Partial<LabSpec>): { readonly second: Setup; readonly router: Setup | undefined } {
  const own = { ...spec, ...change };
  const underlay = planUnderlay({ spec: own, moved: {} });
  const provider = providerOf(own);
  const [, host] = underlay.hosts;
  if (host === undefined) throw new Error("there are two hosts");
  const input = { spec: own, underlay, shared: SHARED };
  return { second: provider.setup({ ...input, host, number: 2 }), router: provider.router?.(input) };
}
const file = ({ files }: Setup, name: string): unknown => JSON.parse(files[name] ?? "");

describe("without a provider", () => {
  test("a host has a bridge with a subnet of its own in every family, and no program", () => {
    const { second, router } = setups({});
    expect(file(second, "/etc/cni/net.d/10-lab.conflist")).toMatchObject({
      name: "lab",
      plugins: [
        {
          type: "bridge",
          ipam: { ranges: [[{ subnet: "10.244.2.0/24" }], [{ subnet: "fd00:244:0:2::/64" }]] },
        },
      ],
    });
    expect([second.programs, second.readyWhen, router]).toEqual([[], [], undefined]);
  });
});

describe("with Flannel", () => {
  test("a host has an agent on the directory that all share, and is ready with its subnet", () => {
    const { second, router } = setups({ provider: "flannel", backend: "vxlan" });
    expect(file(second, "/var/lib/heddle/agent.json")).toEqual({
      node: "host2",
      store: { type: "file", dir: `${SHARED}/store` },
      masquerade: true,
    });
    expect(second.programs).toEqual([
      { name: "agent", argv: ["heddle", "agent", "--config", "/var/lib/heddle/agent.json"] },
    ]);
    expect(second.readyWhen).toEqual(["/run/flannel/subnet.env"]);
    const knows = (peers: number) => second.joined?.isSo(JSON.stringify({ nodes: { known: 2, peers } }));
    expect([knows(0), knows(1)]).toEqual([false, true]);
    expect(router?.programs).toEqual([]);
  });

  test("on etcd the router has one that every host reaches by its gateways", () => {
    const { second, router } = setups({ provider: "flannel", backend: "vxlan", store: "etcd" });
    expect(file(second, "/var/lib/heddle/agent.json")).toMatchObject({
      store: { type: "etcd", endpoints: ["http://192.168.1.1:2379", "http://[fd00:0:0:1::1]:2379"] },
    });
    expect(router?.programs[0]?.argv).toContain(
      "--listen-client-urls=http://192.168.1.1:2379,http://[fd00:0:0:1::1]:2379,http://127.0.0.1:2379",
    );
  });

  test("a backend is read as the agent would, before there is a host", async () => {
    const why = async (backend: string, ip: LabSpec["ip"] = "dual") => {
      const own = { ...spec, provider: "flannel", backend, ip } as const;
      const refused = await providerOf(own)
        .check?.(own)
        .catch((e: unknown) => e);
      if (refused === undefined) return "";
      if (!isNetError(refused, "usage/invalid")) throw refused;
      return refused.detail.why;
    };
    for (const type of backendTypes) expect(await why(type, "4")).toBe("");
    expect(await why('{"Type":"vxlan","DirectRouting":true}')).toBe("");
    expect(await why("nope")).toBe(
      `--backend: Backend.Type: "nope" is none of this agent's: ${backendTypes.join(", ")}`,
    );
    expect(await why("{bad")).toStartWith("--backend: ");
    expect(await why("[]")).toBe("--backend: must be a name or an object");
    expect(await why("{}")).toContain('Backend.Type: is missing: name the backend, as "vxlan"');
    expect(await why('{"Type":"vxlan","VNI":-1}')).toContain("Backend.VNI");
    expect(await why("ipip")).toContain("ipip carries no IPv6");
  });
});
