/** All checks of the doctor, in the order of the report. */
import { catalogue, type FindingId } from "./catalogue.ts";
import { collisions } from "./checks/collisions.ts";
import { config } from "./checks/config.ts";
import { files } from "./checks/files.ts";
import { firewall } from "./checks/firewall.ts";
import { forwarding } from "./checks/forwarding.ts";
import { kernel } from "./checks/kernel.ts";
import { leftovers } from "./checks/leftovers.ts";
import { limits } from "./checks/limits.ts";
import { managers } from "./checks/managers.ts";
import { mtu } from "./checks/mtu.ts";
import { routerAdvertisement } from "./checks/router-advertisement.ts";
import { subnets } from "./checks/subnets.ts";
import type { HostFacts } from "./facts.ts";
import { type Check, type Finding, ok } from "./finding.ts";

const checks: readonly Check<HostFacts>[] = [
  kernel,
  forwarding,
  routerAdvertisement,
  firewall,
  managers,
  collisions,
  subnets,
  config,
  leftovers,
  mtu,
  limits,
  files,
];

/** Every finding, in the order of the catalogue; a subject in which nothing was found is one that is ok. */
export function examine(facts: HostFacts): readonly Finding[] {
  const found = Map.groupBy(
    checks.flatMap(({ run }) => run(facts)),
    (f) => f.id,
  );
  return (Object.keys(catalogue) as readonly FindingId[]).flatMap(
    (id) => found.get(id) ?? [ok(id, "", catalogue[id].fine)],
  );
}
