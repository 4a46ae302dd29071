import { NetError } from "../errors.ts";
import { type Mac, parseMac } from "../net/mac.ts";
import { expectSame, linkOf, openContext } from "../netstate/context.ts";
import { readFacts } from "../netstate/facts.ts";
import { loadFirewalls } from "../netstate/firewalls.ts";
import { loadKinds, verify } from "../netstate/interpret.ts";
import type { NetObject, NetState, Of } from "../netstate/model.ts";
import { markOf, type Owner, vethName } from "../netstate/owner.ts";
import { peekRecord } from "../netstate/record.ts";
import { openSpaces, type Spaces } from "../netstate/spaces.ts";
import { type Fresh, freshNames, type KernelPlugin } from "./kernel-plugin.ts";
import { inputOf, ownerOf } from "./plan-input.ts";
import type { CheckCall } from "./plugin.ts";
import type { Result } from "./result.ts";

/**
 * CHECK of a plugin that is written as data: the plan is made again with the names and addresses of the final result, and
 * compared with the kernel.
 */
export async function check<Config>(plugin: KernelPlugin<Config>, call: CheckCall<Config>): Promise<void> {
  const { prevResult } = call;
  if (prevResult === undefined)
    throw new NetError("prev-result/invalid", { why: "CHECK needs the result of ADD" });
  if (plugin.makesInterface && !prevResult.interfaces.some((i) => i.name === call.ifname && i.sandbox))
    throw new NetError("prev-result/invalid", { why: `has no interface ${call.ifname} in a namespace` });
  const ipam = plugin.ipam?.(call.config);
  if (ipam !== undefined) await call.delegate.check(ipam);
  using spaces = openSpaces(call.netns);
  const owner = ownerOf(plugin.type, call);
  const planned = recordedState(plugin, owner) ?? (await planOfNow(plugin, { ...call, prevResult }, spaces));
  const unrecorded = peekRecord(markOf(owner)) === undefined;
  const state = unrecorded ? await asForeign(planned, owner) : planned;
  await loadKinds(state);
  using firewalls = await loadFirewalls(state);
  const context = openContext(markOf(owner), spaces, firewalls);
  verify(state, context);
  const mtuBytes = wantedMtu(state.objects, call.ifname, prevResult);
  if (mtuBytes !== undefined)
    expectSame(`MTU of ${call.ifname}`, mtuBytes, linkOf(context, "container", call.ifname).mtuBytes);
}

/**
 * The size that the container's interface has to have, if the configuration gives it one: what the final result tells,
 * for a later plugin may have changed it. Results below 1.1.0, and those of the reference, tell none; then only that of
 * a VLAN is compared, as the reference does.
 */
export function wantedMtu(
  objects: readonly NetObject[],
  ifname: string,
  { interfaces }: Pick<Result, "interfaces">,
): number | undefined {
  const own = objects.find((o): o is Of<"veth" | "link" | "tap"> => isInterface(o, ifname));
  if (own?.mtuBytes === undefined) return undefined;
  const told = interfaces.find((i) => i.name === ifname && i.sandbox)?.mtu;
  const isVlan = own.kind === "link" && own.type.kind === "vlan";
  return told ?? (isVlan ? own.mtuBytes : undefined);
}

const isInterface = (o: NetObject, ifname: string): boolean =>
  o.kind === "veth"
    ? o.container.name === ifname && o.container.place !== "host"
    : (o.kind === "link" || o.kind === "tap") && o.name === ifname && o.place === "container";

/**
 * Without a record of ours the reference may have made the attachment. Its older releases leave a port in the bridge's
 * default VLAN beside the wanted one.
 */
async function asForeign(planned: NetState, owner: Owner): Promise<NetState> {
  const { objects } = await withoutForeignRules(planned, owner);
  return { objects: objects.map((o) => (o.kind === "port-vlans" ? { ...o, keepDefault: true } : o)) };
}

/**
 * The reference's rules do what ours would: objects whose rules it has are not compared, nor are those of which it has no
 * kind, if it made the attachment. Everything else is.
 */
async function withoutForeignRules(state: NetState, owner: Owner): Promise<NetState> {
  if (!state.objects.some((o) => o.kind === "firewall")) return state;
  const { referenceHolds } = await import("../firewall/reference-find.ts");
  const { openRuleSet } = await import("../nft/available.ts");
  using netfilter = openRuleSet();
  const held = new Map<NetObject, readonly (boolean | undefined)[]>(
    state.objects.flatMap((o) =>
      o.kind === "firewall" ? [[o, o.state.rules.map((rule) => referenceHolds(netfilter, rule, owner))]] : [],
    ),
  );
  const isOfReference = [...held.values()].some((rules) => rules.includes(true) && !rules.includes(false));
  if (!isOfReference) return state;
  return { objects: state.objects.filter((o) => !held.has(o) || held.get(o)?.includes(false)) };
}

function recordedState<Config>(plugin: KernelPlugin<Config>, owner: Owner): NetState | undefined {
  const record = plugin.checksRecord ? peekRecord(markOf(owner)) : undefined;
  return record?.committed ? record.state : undefined;
}

async function planOfNow<Config>(
  plugin: KernelPlugin<Config>,
  call: CheckCall<Config> & { readonly prevResult: Result },
  spaces: Spaces,
): Promise<NetState> {
  const owner = ownerOf(plugin.type, call);
  const fresh = freshFrom(call.prevResult, call, owner);
  const input = { ...inputOf(call, owner, call.prevResult), mac: fresh.containerMac, fresh };
  return plugin.plan(input, await readFacts(spaces, plugin.needs(input))).state;
}

/** In CHECK the final result says what things are called: whoever made them, and whatever changed them since. */
function freshFrom(result: Result, call: CheckCall<unknown>, owner: Owner): Fresh {
  const fresh = freshNames(vethName(markOf(owner)));
  const macOf = (wanted: boolean, name: (n: string) => boolean): Mac | undefined => {
    const found = result.interfaces.find(
      (i) => (i.sandbox !== undefined && i.sandbox !== "") === wanted && name(i.name),
    );
    const parsed = found?.mac === undefined ? undefined : parseMac(found.mac);
    return parsed?.ok ? parsed.value : undefined;
  };
  return {
    hostLink: result.interfaces.find((i) => !i.sandbox && i.name.startsWith("veth"))?.name ?? fresh.hostLink,
    hostMac: macOf(false, (n) => n.startsWith("veth")) ?? fresh.hostMac,
    containerMac: macOf(true, (n) => n === call.ifname) ?? fresh.containerMac,
    bridgeMac: fresh.bridgeMac,
    gatewayMac: fresh.gatewayMac,
    linkIndex: fresh.linkIndex,
  };
}
