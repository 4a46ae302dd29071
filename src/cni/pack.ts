/** Turns a list into one that runs in one process: all its plugins in a single `heddle-chain` entry. Pure. */
import { invalid, type JsonObject, parseJson, anyObject, withoutKeys } from "./json.ts";
import { capabilitiesOf, CHAIN_TYPE, type NetworkList } from "./list.ts";

/**
 * The packed list, as an object in the order in which people write it. Everything but the plugins stays as it is. Plugins
 * that stand in files beside the list are taken into it.
 * @throws config/invalid if there is a chain in it already
 */
export function packList(network: NetworkList): JsonObject {
  for (const [i, { type }] of network.plugins.entries())
    if (type === CHAIN_TYPE)
      invalid(
        `plugins[${i}].type`,
        `is ${CHAIN_TYPE}, and a chain cannot hold another one: the list is packed already`,
      );
  const capabilities = capabilitiesOf(network.plugins);
  const entry = {
    type: CHAIN_TYPE,
    ...(capabilities.length > 0
      ? { capabilities: Object.fromEntries(capabilities.map((name) => [name, true])) }
      : {}),
    plugins: network.plugins.map(({ raw }) => raw),
  };
  const whole = anyObject(parseJson(network.text, network.name), "");
  return { ...withoutKeys(whole, ["plugins"]), plugins: [entry] };
}
