/**
 * For tests of the plugin kit: a plugin that writes down its calls, and a call that is complete.
 */
import { expect } from "bun:test";
import type { Plugin } from "../cni/plugin.ts";
import { emptyResult, type Result } from "../cni/result.ts";
import type { ServeOutput } from "../cni/serve.ts";
import { cidr } from "./address.ts";

const someResult: Result = { ...emptyResult, ips: [{ address: cidr("10.1.2.3/24") }] };

/** A plugin that writes down what it is called with. */
export function recorder(overrides: Partial<Plugin> = {}) {
  const calls: { verb: string; call: unknown }[] = [];
  const note =
    (verb: string) =>
    async (call: unknown): Promise<void> =>
      void calls.push({ verb, call });
  const plugin: Plugin = {
    type: "recorder",
    about: "CNI recorder plugin",
    options: [],
    parse: (conf) => conf.raw,
    add: async (call) => {
      await note("ADD")(call);
      return someResult;
    },
    del: note("DEL"),
    check: note("CHECK"),
    gc: note("GC"),
    status: note("STATUS"),
    ...overrides,
  };
  return { plugin, calls, verbs: () => calls.map((c) => c.verb) };
}

export const env = {
  CNI_COMMAND: "ADD",
  CNI_CONTAINERID: "some-container-id",
  CNI_NETNS: "/some/netns/path",
  CNI_IFNAME: "eth0",
  CNI_ARGS: "some;extra;args",
  CNI_PATH: "/some/cni/path:/other",
};
export const conf = JSON.stringify({
  cniVersion: "1.1.0",
  name: "skel-test",
  type: "recorder",
  some: "config",
});
export const errorOf = (out: ServeOutput) => {
  expect(out.code).toBe(1);
  return JSON.parse(out.stdout) as { cniVersion: string; code: number; msg: string; details: string };
};
export const VERBS = ["ADD", "DEL", "CHECK", "GC", "STATUS"] as const;
