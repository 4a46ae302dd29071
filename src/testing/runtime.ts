/**
 * For tests of the runtime: plugins inside this process that write down their calls and fail when told, in a
 * directory of the test's own.
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileId } from "../cni/host.ts";
import { parseNetworkList } from "../cni/list.ts";
import type { NetConf, Plugin } from "../cni/plugin.ts";
import type { Result } from "../cni/result.ts";
import type { Runtime } from "../cni/runtime.ts";
import { type Version, versions } from "../cni/version.ts";
import { NetError } from "../errors.ts";
import { parsePrefix } from "../net/ip.ts";

interface Seen {
  readonly step: string;
  readonly raw: NetConf["raw"];
  readonly netns?: string;
  readonly args?: string;
  readonly containerId?: string;
  readonly prevResult?: Result;
}

/**
 * A runtime whose plugins `a`, `b`, `c` are inside this process and write down their calls. `fails` holds what a
 * step such as `DEL b` throws.
 */
export function runtimeFixture(supported: readonly Version[] = versions) {
  const dir = mkdtempSync(join(tmpdir(), "heddle-runtime-"));
  const bin = join(dir, "bin");
  const self = join(dir, "program");
  mkdirSync(bin);
  writeFileSync(self, "");
  const seen: Seen[] = [];
  const fails = new Map<string, Error>();
  const before = new Map<string, () => void>();
  const logs: string[] = [];
  const plugins = new Map<string, Plugin>();
  const install = (plugin: Plugin): void => {
    symlinkSync(self, join(bin, plugin.type));
    plugins.set(plugin.type, plugin);
  };
  for (const [n, type] of ["a", "b", "c"].entries()) {
    const step =
      (verb: string) =>
      async (call: { readonly conf: NetConf }): Promise<void> => {
        seen.push({ ...call, step: `${verb} ${type}`, raw: call.conf.raw });
        before.get(`${verb} ${type}`)?.();
        const error = fails.get(`${verb} ${type}`);
        if (error) throw error;
      };
    install({
      type,
      about: type,
      options: [],
      versions: supported,
      parse: () => undefined,
      async add(call) {
        await step("ADD")(call);
        const address = parsePrefix(`10.0.0.${n + 1}/24`);
        if (!address.ok) throw new Error(address.why);
        const before = call.prevResult ?? { interfaces: [], ips: [], routes: [], dns: {} };
        return { ...before, ips: [...before.ips, { address: address.value }] };
      },
      del: step("DEL"),
      check: step("CHECK"),
      gc: step("GC"),
      status: step("STATUS"),
    });
  }
  const runtime: Runtime = {
    host: { load: async (type) => plugins.get(type), inProcess: true, self: fileId(self) },
    path: `${join(dir, "nowhere")}:${bin}`,
    env: { CNI_IFNAME: "left-over", CNI_CONTAINERID: "left-over", CNI_NETNS: "/left/over" },
    cacheDir: join(dir, "cache"),
    log: (message) => void logs.push(message),
  };
  const results = join(dir, "cache", "results");
  return {
    dir,
    seen,
    fails,
    before,
    logs,
    runtime,
    /** Puts one more plugin into the program. */
    install,
    steps: () => seen.splice(0).map((s) => s.step),
    /** A file that plays a namespace. */
    netns(name: string): string {
      const path = join(dir, name);
      writeFileSync(path, "");
      return path;
    },
    cacheFile: (name: string): string => join(results, name),
    cacheFiles: (): readonly string[] => (existsSync(results) ? readdirSync(results).toSorted() : []),
  };
}
export const listOf = (cniVersion: string, more: Record<string, unknown> = {}, types = ["a", "b", "c"]) =>
  parseNetworkList(
    JSON.stringify({ cniVersion, name: "net", ...more, plugins: types.map((type) => ({ type, own: type })) }),
    "test",
  );
export const rejection = (p: Promise<unknown>): Promise<unknown> =>
  p.then(
    () => undefined,
    (e: unknown) => e,
  );
export const failure = (why: string) => new NetError("try-again", { why });
export const addresses = (r: Result | undefined) => r?.ips.map((i) => i.address.text);
