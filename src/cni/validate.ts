/**
 * The names that come from outside: container, network and interface. Each becomes part of file names and kernel
 * objects, so nothing is done with one before it has passed here.
 */
import { NetError } from "../errors.ts";
import { type IfName, parseIfName } from "../net/ifname.ts";

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
const RULE = "must begin with a letter or a digit and hold only letters, digits, '_', '.' and '-'";

/** @throws container/unknown if it is empty, env/invalid if it has a character that is not allowed */
export function checkContainerId(id: string): string {
  if (id === "") throw new NetError("container/unknown", { why: "the container ID is missing" });
  if (!NAME.test(id))
    throw new NetError("env/invalid", {
      variables: ["CNI_CONTAINERID"],
      why: `container ID "${id}" ${RULE}`,
    });
  return id;
}

/** @throws config/invalid */
export function checkNetworkName(name: string): string {
  if (name === "")
    throw new NetError("config/invalid", { field: "name", why: "the network name is missing" });
  if (!NAME.test(name))
    throw new NetError("config/invalid", { field: "name", why: `network name "${name}" ${RULE}` });
  return name;
}

/** @throws env/invalid */
export function checkIfName(name: string): IfName {
  const parsed = parseIfName(name);
  if (!parsed.ok) throw new NetError("env/invalid", { variables: ["CNI_IFNAME"], why: parsed.why });
  return parsed.value;
}
