import { parseCniArgs } from "../../../cni/args.ts";
import { invalid } from "../../../cni/json.ts";
import type { Plan, PlanInput } from "../../../cni/kernel-plugin.ts";
import type { Result } from "../../../cni/result.ts";
import { NetError } from "../../../errors.ts";
import type { Mac } from "../../../net/mac.ts";
import type { Needs } from "../../../netstate/facts.ts";
import type { LinkAttributes, NetObject } from "../../../netstate/model.ts";
import { linkMac } from "../../shared/config.ts";
import type { TuningConfig } from "./config.ts";
import { pathFor } from "./sysctl-key.ts";

/** Changes to the container's interface and to parameters of its kernel, all of them borrowed. */
type Input = PlanInput<TuningConfig>;

/** What is there before is read where it is changed. */
export const needs = (): Needs => ({});

export function plan(input: Input): Plan {
  const mac = macOf(input);
  const attributes: LinkAttributes = { ...input.config.attributes, ...(mac ? { mac } : {}) };
  const link: NetObject = {
    kind: "link-attributes",
    possession: "borrowed",
    place: "container",
    link: input.ifname,
    attributes,
  };
  return {
    state: { objects: [...sysctls(input), ...(Object.keys(attributes).length > 0 ? [link] : [])] },
    result: updated(input, attributes),
  };
}

/** `args.cni.mac`, else that of the runtime, else `MAC` of CNI_ARGS, else that of the configuration. */
function macOf({ config, args }: Input): Mac | undefined {
  const given = parseCniArgs(args, ["MAC", "IP", "GATEWAY"]).MAC;
  const fromEnv = given ? linkMac(given, "CNI_ARGS MAC") : undefined;
  return config.mac.asked ?? fromEnv ?? config.mac.configured;
}

function sysctls({ config, ifname }: Input): NetObject[] {
  const seen = new Map<string, string>();
  return config.sysctls.map(({ written, path, value }) => {
    const key = pathFor(path, ifname);
    const twin = seen.get(key);
    if (twin !== undefined) invalid("sysctl", `"${twin}" and "${written}" are the same parameter`);
    seen.set(key, written);
    return { kind: "sysctl", possession: "borrowed", place: "container", key, value };
  });
}

/** The previous result with the address and the MTU that the interface has now. */
function updated({ prevResult, ifname }: Input, { mac, mtuBytes }: LinkAttributes): Result {
  if (prevResult === undefined)
    throw new NetError("prev-result/invalid", { why: "tuning needs the result of the plugin before it" });
  const interfaces = prevResult.interfaces.map((i) =>
    i.name === ifname && i.sandbox
      ? { ...i, ...(mac ? { mac } : {}), ...(mtuBytes ? { mtu: mtuBytes } : {}) }
      : i,
  );
  return { ...prevResult, interfaces };
}
