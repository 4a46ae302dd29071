/**
 * Carries out one verb of `heddle cni`: loads the network's list, runs the runtime with what the arguments and the
 * environment say, and prints the result of ADD. A signal ends the plugins and takes back what ADD has made.
 */
import { loadNetwork } from "../cni/load.ts";
import { printResult } from "../cni/result-codec.ts";
import {
  addNetworkList,
  type Attachment,
  checkNetworkList,
  delNetworkList,
  gcNetworkList,
  type Runtime,
  statusNetworkList,
} from "../cni/runtime.ts";
import { pluginHost } from "../plugins/registry.ts";
import type { CniOptions, CniVerb } from "./cni.ts";
import { cniRequest } from "./cni-request.ts";
import { complain, printExactly } from "./output.ts";
import { absolutePluginPath } from "./plugin-path.ts";

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Runs the verb. Prints nothing but the result of ADD.
 * @throws env/invalid, config/not-found, and as the runtime's functions
 */
export async function runCniVerb(
  verb: CniVerb,
  network: string,
  netns: string,
  options: CniOptions,
): Promise<void> {
  const request = cniRequest(network, netns, options.ifname, process.env);
  const list = loadNetwork(request.confDir, network);
  const { containerId, ifname, args, capabilityArgs } = request;
  const attachment: Attachment = {
    containerId,
    ifname,
    netns: request.netns,
    ...(args ? { args } : {}),
    ...(capabilityArgs ? { capabilityArgs } : {}),
  };
  const stop = new AbortController();
  for (const signal of SIGNALS) process.once(signal, () => stop.abort(new Error(`received ${signal}`)));
  const runtime: Runtime = {
    host: pluginHost(options.inProcess),
    path: absolutePluginPath(request.path),
    env: process.env,
    log: complain,
    signal: stop.signal,
    ...(options.cacheDir === undefined ? {} : { cacheDir: options.cacheDir }),
  };
  const work: { readonly [V in CniVerb]: () => Promise<void> } = {
    add: async () =>
      printExactly(printResult(await addNetworkList(runtime, list, attachment), list.cniVersion)),
    check: () => checkNetworkList(runtime, list, attachment),
    del: () => delNetworkList(runtime, list, attachment),
    gc: () => gcNetworkList(runtime, list),
    status: () => statusNetworkList(runtime, list),
  };
  await work[verb]();
}
