import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import type { Result, ResultInterface } from "../../../cni/result.ts";
import { NetError } from "../../../errors.ts";
import { type Mac, parseMac } from "../../../net/mac.ts";
import { type Facts, factKey, type Needs } from "../../../netstate/facts.ts";
import type { NetObject, Place } from "../../../netstate/model.ts";
import { markOf, shaperName } from "../../../netstate/owner.ts";
import type { TokenBucket } from "../../../rtnl/token-bucket.ts";
import type { BandwidthConfig } from "./config.ts";
import { referenceShaper } from "./names.ts";

/**
 * Limits as a state. A link can hold back what it sends and not what it receives; what it receives is sent through a link
 * of its own, the shaper, that holds it back. Of a pair the end in the host is shaped, out of the container's reach; an
 * interface without one is shaped itself, inside the container.
 */
type Input = PlanInput<BandwidthConfig>;

const isIdle = ({ ingress, egress }: BandwidthConfig): boolean =>
  ingress === undefined && egress === undefined;

export const needs = ({ config, ifname }: Input): Needs =>
  isIdle(config) ? {} : { links: [{ place: "container", name: ifname }], hostEndOf: ifname };

export function plan(input: Input, facts: Facts): Plan {
  const result = previous(input);
  if (isIdle(input.config)) return { state: { objects: [] }, result };
  const { place, link, mtuBytes, sends, receives } = shapedLink(input, facts);
  const root: readonly NetObject[] = sends
    ? [{ kind: "qdisc", possession: "borrowed", place, link, qdisc: sends }]
    : [];
  if (receives === undefined) return { state: { objects: root }, result };
  const shaper = shaperOf(input, place);
  return {
    state: { objects: [...root, ...shaping({ place, link, mtuBytes }, shaper, receives)] },
    result: {
      ...result,
      interfaces: [...result.interfaces, resultInterface(shaper, { place, mtuBytes }, input)],
    },
  };
}

function previous({ prevResult }: Input): Result {
  if (prevResult === undefined)
    throw new NetError("prev-result/invalid", {
      why: "bandwidth needs the result of the plugin before it",
    });
  return prevResult;
}

interface ShapedLink {
  readonly place: Place;
  readonly link: string;
  readonly mtuBytes: number;
  /** The limit of what this link sends, and of what it receives. */
  readonly sends: TokenBucket | undefined;
  readonly receives: TokenBucket | undefined;
}

function shapedLink({ config, ifname, netns }: Input, facts: Facts): ShapedLink {
  const { ingress, egress } = config;
  const { hostEnd } = facts;
  if (hostEnd !== undefined)
    return {
      place: "host",
      link: hostEnd.name,
      mtuBytes: hostEnd.mtuBytes,
      sends: ingress,
      receives: egress,
    };
  const inside = facts.links.get(factKey("container", ifname));
  if (inside === undefined)
    throw new NetError("prev-result/invalid", {
      why: `there is no interface ${ifname} in ${netns} to shape`,
    });
  return { place: "container", link: ifname, mtuBytes: inside.mtuBytes, sends: egress, receives: ingress };
}

interface Shaper {
  readonly name: string;
  readonly mac: Mac;
  readonly alsoNamed?: string;
}

/** In CHECK the result says what it is called, whoever made it. */
function shaperOf({ network, containerId, ifname, prevResult, fresh }: Input, place: Place): Shaper {
  const name = shaperName(markOf({ component: "bandwidth", network, containerId, ifname }));
  const reference = referenceShaper(network, containerId);
  const found = prevResult?.interfaces.find(
    (i) => i.name === name || (place === "host" && i.name === reference),
  );
  const mac = found?.mac === undefined ? undefined : parseMac(found.mac);
  return {
    name: found?.name ?? name,
    mac: mac?.ok ? mac.value : fresh.hostMac,
    // By its own name for it the reference checks and removes what was made here.
    ...(place === "host" ? { alsoNamed: reference } : {}),
  };
}

function shaping(
  { place, link, mtuBytes }: Pick<ShapedLink, "place" | "link" | "mtuBytes">,
  shaper: Shaper,
  qdisc: TokenBucket,
): NetObject[] {
  const { name } = shaper;
  return [
    {
      kind: "link",
      possession: "exclusive",
      place,
      type: { kind: "ifb" },
      ...shaper,
      mtuBytes,
      txQueueLength: 0,
    },
    { kind: "qdisc", possession: "exclusive", place, link: name, qdisc },
    { kind: "link-up", possession: "exclusive", place, link: name },
    { kind: "filter", possession: "borrowed", place, link, through: name },
  ];
}

const resultInterface = (
  { name, mac }: Shaper,
  { place, mtuBytes }: Pick<ShapedLink, "place" | "mtuBytes">,
  { netns }: Input,
): ResultInterface => ({
  name,
  mac,
  mtu: mtuBytes,
  ...(place === "container" ? { sandbox: netns } : {}),
});
