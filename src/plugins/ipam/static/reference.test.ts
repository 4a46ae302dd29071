/** The reference's `static` and ours, call by call. Needs the reference's executable, and skips without it. */
import { describe, expect, test } from "bun:test";
import { serve } from "../../../cni/serve.ts";
import { versions } from "../../../cni/version.ts";
import { key } from "../../../testing/ipam.ts";
import { callEnv, peerProgram, runPeer } from "../../../testing/peer.ts";
import { staticIpam } from "./plugin.ts";

const peer = (await peerProgram("static")) ?? "";

describe.skipIf(peer === "")("beside the reference", () => {
  const ipam = {
    type: "static",
    addresses: [{ address: "10.10.0.1/24", gateway: "10.10.0.254" }, { address: "3ffe:ffff:0:1ff::1/64" }],
    routes: [
      { dst: "0.0.0.0/0" },
      { dst: "192.168.0.0/16", gw: "10.10.5.1", mtu: 1400, table: 7, priority: 5, scope: 0 },
    ],
    dns: { nameservers: ["8.8.8.8"], domain: "a.test", search: ["a.test"], options: ["ndots:1"] },
  };
  const cases: readonly (readonly [string, object, string])[] = [
    ["the configuration alone", {}, ""],
    [
      "args.cni.ips",
      { args: { cni: { ips: ["10.2.0.1/24", "fd02::1/64"] } } },
      "IP=10.4.0.1/24;GATEWAY=10.2.0.254",
    ],
    [
      "runtimeConfig.ips",
      { args: { cni: { ips: ["10.2.0.1/24"] } }, runtimeConfig: { ips: ["10.3.0.1/24"] } },
      "",
    ],
  ];

  test.each(versions.flatMap((v) => cases.map(([name, more, args]) => [v, name, more, args] as const)))(
    "both print the same result for version %s from %s",
    async (cniVersion, _, more, args) => {
      const conf = { cniVersion, name: "net", type: "bridge", ipam, ...more };
      const env = { ...callEnv("ADD", key("a")), CNI_ARGS: args };
      const theirs = runPeer(peer, env, conf);
      const ours = await serve(staticIpam, { env, stdin: JSON.stringify(conf) });
      expect(theirs.code).toBe(0);
      expect(JSON.parse(ours.stdout)).toEqual(JSON.parse(theirs.stdout));
    },
  );

  test("both give the gateways of CNI_ARGS to its addresses", async () => {
    const conf = { cniVersion: "1.0.0", name: "net", type: "bridge", ipam: { type: "static" } };
    const args = "IP=10.10.0.1/24, 11.11.0.1/24,fd00::5/64;GATEWAY=10.10.0.254,fd00::1, 12.0.0.1";
    const env = { ...callEnv("ADD", key("a")), CNI_ARGS: args };
    const theirs = runPeer(peer, env, conf);
    const ours = await serve(staticIpam, { env, stdin: JSON.stringify(conf) });
    expect(JSON.parse(ours.stdout)).toEqual(JSON.parse(theirs.stdout));
  });
});
