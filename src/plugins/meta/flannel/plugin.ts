import { namesValid } from "../../../cni/conf.ts";
import { errorText } from "../../../cni/errors.ts";
import { type PluginConf, requestText } from "../../../cni/list.ts";
import type { AddCall, CheckCall, DelCall, GcCall, Plugin, StatusCall } from "../../../cni/plugin.ts";
import { addAll, gcAll, hasInterface, runEach, type Sequence, throwAll } from "../../../cni/sequence.ts";
import type { Result } from "../../../cni/result.ts";
import { NetError } from "../../../errors.ts";
import { requireOwnDir } from "../../../netstate/trusted-dir.ts";
import { type FlannelConfig, options, parseConfig, parseForRemoval } from "./config.ts";
import { delegateOf } from "./delegate.ts";
import { besideEarlier } from "./earlier-bridge.ts";
import {
  findStored,
  forget,
  forgetAllPending,
  forgetPending,
  freePath,
  listStored,
  type Place,
  putBack,
  store,
  type Stored,
} from "./stored.ts";
import { readSubnetEnv, type SubnetEnv } from "./subnet-env.ts";

/**
 * `flannel`: runs another plugin, `bridge` unless the configuration names one, with the subnet that a Flannel daemon got for
 * this host. What that plugin was given is kept until DEL.
 */
export const flannel: Plugin<FlannelConfig> = {
  type: "flannel",
  about: "Another plugin, with the subnet that a Flannel daemon has for this host",
  options: [options],
  parse: parseConfig,
  parseForRemoval,
  add,
  del,
  check,
  gc,
  status,
};

type AttachmentCall = AddCall<FlannelConfig> | DelCall<FlannelConfig> | CheckCall<FlannelConfig>;
type Call = AttachmentCall | GcCall<FlannelConfig> | StatusCall<FlannelConfig>;

const absent = (file: string): string =>
  `${file} is not there, so this host has no subnet yet: it is written by the Flannel daemon (heddle flanneld, or flanneld); look whether that runs, and into its log`;

/** Who could write there could have any plugin run with any configuration. */
function ownDir({ config }: Call): string {
  requireOwnDir(config.dataDir, "dataDir");
  return config.dataDir;
}

const placeOf = (call: AttachmentCall): Place => ({
  dir: ownDir(call),
  network: call.conf.name,
  containerId: call.containerId,
  ifname: call.ifname,
});

/** The delegates as a list; one that runs by an earlier configuration keeps the network's name of then. */
const sequenceOf = (
  { conf, delegate }: Call,
  plugins: readonly PluginConf[],
  network = conf.name,
): Sequence => ({
  cniVersion: conf.cniVersion,
  plugins,
  ready: () => {},
  run: (plugin, command, { prevResult, valid }) =>
    delegate.run(
      plugin.type,
      command,
      requestText({ name: network, cniVersion: conf.cniVersion }, plugin, {
        ...(prevResult ? { prevResult } : {}),
        ...(valid ? { valid } : {}),
      }),
    ),
});

async function add(call: AddCall<FlannelConfig>): Promise<Result> {
  const { conf, config, netns, ifname } = call;
  const of = placeOf(call);
  const env = readSubnetEnv(config.subnetFile);
  if (env === undefined) throw new NetError("try-again", { why: absent(config.subnetFile) });
  const plugin = besideEarlier(delegateOf(conf, config, env), env);
  const before = findStored(of);
  const path = before?.path ?? freePath(of);
  // An interface that is there, or was once attached, is not to be taken away because this ADD fails.
  const occupied = before !== undefined || hasInterface({ netns, ifname });
  try {
    store(of, path, plugin);
    return await addAll(sequenceOf(call, [plugin]), { occupied });
  } catch (e) {
    if (before !== undefined) putBack(of, path, before.text);
    // What could not be taken back is left to DEL, which needs the file.
    else if (!(e instanceof AggregateError)) forget({ path });
    throw e;
  }
}

async function del(call: DelCall<FlannelConfig>): Promise<void> {
  const { prevResult } = call;
  const of = placeOf(call);
  const stored = findStored(of);
  if (stored?.delegate === undefined) await delWithout(call, stored);
  else
    await sequenceOf(call, [stored.delegate], stored.network).run(
      stored.delegate,
      "DEL",
      prevResult ? { prevResult } : {},
    );
  if (stored !== undefined) forget(stored);
  forgetPending(of);
}

/**
 * Of what was given at ADD nothing is known: it was never made, is gone, or the file is lost. The delegate of now is asked
 * to remove what it has under this key; if it cannot, there is nothing more to go by.
 */
async function delWithout(call: DelCall<FlannelConfig>, stored: Stored | undefined): Promise<void> {
  const { conf, config, prevResult, log } = call;
  if (stored !== undefined) log(`${stored.path} cannot be read, and goes`);
  const plugin = delegateOf(conf, config, envIfReadable(config));
  try {
    await sequenceOf(call, [plugin]).run(plugin, "DEL", prevResult ? { prevResult } : {});
  } catch (e) {
    log(`DEL of ${plugin.type}, which has perhaps never run for this container: ${errorText(e)}`);
  }
}

function envIfReadable({ subnetFile }: FlannelConfig): SubnetEnv | undefined {
  try {
    return readSubnetEnv(subnetFile);
  } catch (e) {
    if (e instanceof NetError) return undefined;
    throw e;
  }
}

async function check(call: CheckCall<FlannelConfig>): Promise<void> {
  const { config, prevResult } = call;
  const stored = findStored(placeOf(call));
  if (stored?.delegate === undefined)
    throw new NetError("check/differs", {
      what: `what ${config.type} was given for container ${call.containerId}`,
      wanted: `a file in ${config.dataDir}`,
      found: stored === undefined ? "none" : `${stored.path}, which cannot be read`,
    });
  await runEach(
    sequenceOf(call, [stored.delegate], stored.network),
    "CHECK",
    prevResult ? { prevResult } : {},
  );
}

/** The delegate of now collects; so does every other one that an attachment was made by which is no longer valid. */
async function gc(call: GcCall<FlannelConfig>): Promise<void> {
  const { conf, config, valid } = call;
  const isValid = ({ containerId, ifname }: Stored): boolean =>
    valid.some((v) => v.containerId === containerId && (ifname === undefined || v.ifname === ifname));
  const dir = ownDir(call);
  const stale = listStored(dir).filter((s) => s.network === conf.name && !isValid(s));
  const now = delegateOf(conf, config, envIfReadable(config));
  const types = new Map(stale.flatMap(({ delegate }) => (delegate ? [[delegate.type, delegate]] : [])));
  types.set(now.type, now);
  const listed = namesValid(conf);
  const failures = await gcAll(sequenceOf(call, [...types.values()]), listed ? valid : undefined);
  // Without a list a delegate may have kept what it has; DEL will need the files.
  if (failures.length === 0 && listed) for (const s of stale) forget(s);
  forgetAllPending(dir, conf.name, valid);
  throwAll(failures);
}

async function status(call: StatusCall<FlannelConfig>): Promise<void> {
  const { conf, config } = call;
  ownDir(call);
  await runEach(sequenceOf(call, [delegateOf(conf, config, envOrUnavailable(config))]), "STATUS");
}

function envOrUnavailable({ subnetFile }: FlannelConfig): SubnetEnv {
  try {
    const env = readSubnetEnv(subnetFile);
    if (env !== undefined) return env;
  } catch (e) {
    if (!(e instanceof NetError)) throw e;
    throw new NetError("status/unavailable", { why: e.message }, { cause: e });
  }
  throw new NetError("status/unavailable", { why: absent(subnetFile) });
}
