import { namesValid } from "../../../cni/conf.ts";
import { findPlugin } from "../../../cni/invoke.ts";
import { CHAIN_TYPE, requestText } from "../../../cni/list.ts";
import type { AddCall, CheckCall, DelCall, GcCall, Plugin, StatusCall } from "../../../cni/plugin.ts";
import {
  addAll,
  delAll,
  gcAll,
  hasInterface,
  runEach,
  type Sequence,
  throwAll,
} from "../../../cni/sequence.ts";
import { type ChainConfig, options, parseConfig, parseForRemoval } from "./config.ts";

/** `heddle-chain`: one entry of a list that runs the plugins of a whole list, those of this executable in one process. */
export const heddleChain: Plugin<ChainConfig> = {
  type: CHAIN_TYPE,
  about: "Several plugins as one entry of a list, in one process",
  options: [options],
  parse: parseConfig,
  parseForRemoval,
  async add(call) {
    const { prevResult, netns, ifname } = call;
    // After another plugin the interface is that one's work.
    const occupied = prevResult === undefined && hasInterface({ netns, ifname });
    return addAll(sequenceOf(call), { occupied, ...(prevResult ? { prevResult } : {}) });
  },
  async del(call) {
    throwAll(await delAll(sequenceOf(call), call.prevResult));
  },
  async check(call) {
    const { prevResult } = call;
    await runEach(sequenceOf(call), "CHECK", prevResult ? { prevResult } : {});
  },
  async gc(call) {
    throwAll(await gcAll(sequenceOf(call), namesValid(call.conf) ? call.valid : undefined));
  },
  status: (call) => runEach(sequenceOf(call), "STATUS"),
};

type Call =
  | AddCall<ChainConfig>
  | DelCall<ChainConfig>
  | CheckCall<ChainConfig>
  | GcCall<ChainConfig>
  | StatusCall<ChainConfig>;

/** Each plugin gets what the list would have given it: its own entry, with the network's name and version. */
function sequenceOf({ conf, config: { plugins, capabilityArgs }, path, delegate }: Call): Sequence {
  return {
    cniVersion: conf.cniVersion,
    plugins,
    ready: ({ type }) => void findPlugin(type, path),
    run: (plugin, command, { prevResult, valid }) =>
      delegate.run(
        plugin.type,
        command,
        requestText(conf, plugin, {
          capabilityArgs,
          ...(prevResult ? { prevResult } : {}),
          ...(valid ? { valid } : {}),
        }),
      ),
  };
}
