/** The kernel lacks what a configured network is made of. */
import type { HostFacts } from "../facts.ts";
import type { FeatureAnswer } from "../gather/kernel.ts";
import { cannotTell, type Check, type Finding, problem, whenSeen } from "../finding.ts";

export const kernel: Check<Pick<HostFacts, "features">> = {
  ids: ["kernel-feature"],
  run: ({ features }) => whenSeen("kernel-feature", features, (all) => all.flatMap(findingOf)),
};

function findingOf({ feature, modules, networks, has }: FeatureAnswer): readonly Finding[] {
  const subject = networks.join(", ");
  if (!has.known) return [cannotTell("kernel-feature", `of ${feature}: ${has.why}`, subject)];
  if (has.value) return [];
  return [
    problem(
      "kernel-feature",
      subject,
      `the kernel has no ${feature}`,
      ...modules.map((module) => `modprobe ${module}`),
    ),
  ];
}
