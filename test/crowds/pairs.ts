/**
 * Two plugins in one list: what they answer, whether CHECK accepts what both made, beside a second container too, and
 * what is left after DEL.
 */
import type { Entry } from "../../src/cli/ps/entry.ts";
import { isPluginType } from "../../src/plugins/registry.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { sample } from "../../src/testing/faults.ts";
import type { TestNetns } from "../../src/testing/netns.ts";
import { difference } from "../faults/loop.ts";
import { type Json, type ListSite, listSite, type Of } from "../plugins/list-site.ts";
import { ipamOf, linksOfHost } from "./host.ts";
import { entryOf, mains, metas, type Result } from "./plugins.ts";

export interface Pair {
  /** The types of a list, the first of which makes the interface; two, or more. */
  readonly types: readonly string[];
  /** What DEL is told; without `bare` also the namespace and the result. */
  readonly bare: boolean;
}

const shipped = (rows: object): readonly string[] => Object.keys(rows).filter(isPluginType);

/** Every plugin that makes an interface with every one that changes it, and every two of the latter behind `bridge`. */
export const pairs: readonly Pair[] = [
  ...shipped(mains).flatMap((main) => shipped(metas).map((meta) => [main, meta])),
  ...shipped(metas).flatMap((a) => shipped(metas).flatMap((b) => (a === b ? [] : [["bridge", a, b]]))),
].flatMap((types) => [false, true].map((bare) => ({ types, bare })));

/** Behind each plugin that makes an interface, all that can come after it, in an order of the seed. */
export const wholeLists = (seed: number): readonly Pair[] =>
  shipped(mains).map((main, nth) => {
    const after = shipped(metas).filter((meta) => mains[main]?.refuses?.[meta] === undefined);
    return { types: [main, ...sample(after, after.length, seed + nth)], bare: nth % 2 === 0 };
  });

/** `vrf` needs a kernel that few machines of this kind have. */
export const withoutVrf = (list: Pair): Pair => ({
  ...list,
  types: list.types.filter((type) => type !== "vrf"),
});

export const titleOf = ({ types, bare }: Pair): string =>
  `${types.join(", then ")}; DEL by ${bare ? "the key alone" : "all that is known"}`;

/** What a plugin of the list says that it refuses, if it is meant to. */
const refusalOf = ({ types: [main = "", ...after] }: Pair): string | undefined =>
  after.map((meta) => mains[main]?.refuses?.[meta]).find((why) => why !== undefined);

interface Attached {
  readonly at: TestNetns;
  readonly plugins: readonly Json[];
  readonly of: Of;
  readonly result: Result;
}

/** Does it all. Returns what is wrong, a line each. */
export async function faultsOfPair(heddle: HeddleBinary, pair: Pair): Promise<readonly string[]> {
  await using site = await listSite(heddle);
  const [one, two] = [await site.container(), await site.container()];
  await linksOfHost(site.host, pair, 2);
  // Once before, for what is shared and stays.
  for (const [nth, at] of [one, two].entries()) {
    const round = await attach(site, pair, at, nth);
    if (typeof round === "string") return wrongRefusal(pair, round);
    await site.del(at, round.plugins, round.result, round.of);
  }
  if (refusalOf(pair) !== undefined) return [`ADD went through, which ${refusalOf(pair)}`];
  const look = (): Promise<readonly string[]> => lookAt(site, [one, two]);
  const before = await look();
  const first = await demanded(site, pair, one, 0);
  await site.check(one, first.plugins, first.result, first.of);
  const second = await demanded(site, pair, two, 1);
  for (const a of [first, second]) await site.check(a.at, a.plugins, a.result, a.of);
  const seen = await unseen(site);
  await site.del(one, first.plugins, first.result, { ...first.of, bare: pair.bare });
  await site.check(two, second.plugins, second.result, second.of);
  await site.del(two, second.plugins, second.result, { ...second.of, bare: pair.bare });
  return [...seen, ...unexpected(first), ...unexpected(second), ...difference(before, await look())];
}

/** What `heddle ps` says of the two other than that they are as they were made, or `heddle show` cannot say. */
async function unseen({ host }: ListSite): Promise<readonly string[]> {
  const entries = JSON.parse((await host.cli(["ps", "--json"], {})).stdout) as readonly Entry[];
  const faults = entries.filter((e) => e.state !== "ok").map((e) => `heddle ps: ${JSON.stringify(e)}`);
  if (entries.length !== 2) faults.push(`heddle ps: ${entries.length} attachments, not 2`);
  const { code, stderr } = await host.cli(["show", entries[0]?.key ?? ""], {});
  return code === 0 ? faults : [...faults, `heddle show: ${stderr}`];
}

function wrongRefusal(pair: Pair, message: string): readonly string[] {
  const wanted = refusalOf(pair);
  return wanted !== undefined && message.includes(wanted) ? [] : [message];
}

const SYSCTL = "net/core/somaxconn";

async function lookAt(site: ListSite, containers: readonly TestNetns[]): Promise<readonly string[]> {
  const paths = containers.map(({ path }) => path);
  const parameters = paths.map(async (path) => `${path}: ${SYSCTL} = ${await site.sysctl(path, SYSCTL)}`);
  return [...(await site.host.snapshot(paths)), ...(await Promise.all(parameters))];
}

interface Step {
  readonly type: string;
  readonly result: Result;
}

interface Round extends Attached {
  readonly steps: readonly Step[];
}

/** ADD of each plugin. The words of the first that fails, after DEL of all. */
async function attach(site: ListSite, { types }: Pair, at: TestNetns, nth: number): Promise<Round | string> {
  const { ifname } = mains[types[0] ?? ""] ?? {};
  const of: Of = ifname === undefined ? {} : { ifname };
  const plugins = types.map((type) => entryOf(type, { nth, ipam: ipamOf(site.host, 2) }));
  const steps: Step[] = [];
  for (const conf of plugins) {
    const before = steps.at(-1)?.result;
    const reply = await site.call("ADD", at, { ...conf, ...(before ? { prevResult: before } : {}) }, of);
    const type = String(conf["type"]);
    if (reply.code !== 0) {
      await site.del(at, plugins, before ?? {}, { ...of, bare: true });
      return `ADD of ${type} failed with ${reply.error}: ${reply.message}`;
    }
    steps.push({ type, result: reply.result ?? {} });
  }
  return { at, plugins, of, steps, result: steps.at(-1)?.result ?? {} };
}

async function demanded(site: ListSite, pair: Pair, at: TestNetns, nth: number): Promise<Round> {
  const attached = await attach(site, pair, at, nth);
  if (typeof attached === "string") throw new Error(attached);
  return attached;
}

/** Each result is the one before, with what the plugin is known to change. */
const unexpected = ({ steps }: Round): readonly string[] =>
  steps.slice(1).flatMap(({ type, result }, i) => {
    const before = steps[i]?.result ?? {};
    const wanted = metas[type]?.result(before, result);
    return Bun.deepEquals(wanted, result)
      ? []
      : [`result of ${type}: ${JSON.stringify(result)}, not ${JSON.stringify(wanted)}`];
  });
