/** The host does not forward, or a file will make it stop; parameters that hinder single links. */
import { sysctlCommand, sysctlName } from "../commands.ts";
import type { HostFacts } from "../facts.ts";
import { type Check, type Finding, note, problem, warning, whenSeen } from "../finding.ts";
import { allSeen } from "../seen.ts";
import { sameSysctlValue } from "../../../sys/sysctl.ts";

type Facts = Pick<HostFacts, "net" | "state">;

/** Parameters that live attachments set on the host, and switch on forwarding. */
const SWITCHES = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];

/** Which of them live attachments want. */
const wantedBy = (attachments: readonly Attachment[]): ReadonlyMap<string, Attachment> =>
  new Map(
    attachments
      .filter((a) => a.state === "live")
      .flatMap((a) =>
        a.objects.flatMap((o) =>
          o.kind === "sysctl" && o.place === "host" && SWITCHES.includes(o.key) && o.value !== "0"
            ? [[o.key, a] as const]
            : [],
        ),
      ),
  );
type Attachment = Extract<Facts["state"]["attachments"], { known: true }>["value"][number];

export const forwarding: Check<Facts> = {
  ids: ["forwarding", "forwarding-file"],
  run: ({ net, state }) => [
    ...whenSeen(
      "forwarding",
      allSeen({ attachments: state.attachments, sysctls: net.sysctls, links: net.links }),
      (seen) => [...switchedOff(seen.attachments, seen.sysctls), ...linksThatDoNot(seen.links, seen.sysctls)],
    ),
    ...whenSeen(
      "forwarding-file",
      allSeen({ attachments: state.attachments, files: net.sysctlFiles }),
      (seen) => files(seen.attachments, seen.files),
    ),
  ],
};

function switchedOff(
  attachments: readonly Attachment[],
  sysctls: ReadonlyMap<string, string>,
): readonly Finding[] {
  return [...wantedBy(attachments)].flatMap(([key, { owner }]) => {
    const found = sysctls.get(key);
    if (found === undefined || !sameSysctlValue(found, "0")) return [];
    const seen = `${sysctlName(key)} is 0, and container ${owner.containerId} (network ${owner.network}) needs it`;
    return [problem("forwarding", key, seen, sysctlCommand(key, "1"))];
  });
}

/** A link's own parameter may be off while that of the host is on. */
function linksThatDoNot(
  links: readonly { readonly name: string; readonly kind?: string; readonly altNames: readonly string[] }[],
  sysctls: ReadonlyMap<string, string>,
): readonly Finding[] {
  if (sysctls.get("net/ipv4/ip_forward") !== "1") return [];
  return links.flatMap(({ name }) => {
    const key = `net/ipv4/conf/${name}/forwarding`;
    if (sysctls.get(key) !== "0") return [];
    const seen = `${sysctlName(key)} is 0 while net.ipv4.ip_forward is 1: what comes in by ${name} is not forwarded`;
    return [warning("forwarding", name, seen, sysctlCommand(key, "1"))];
  });
}

function files(
  attachments: readonly Attachment[],
  settings: Extract<Facts["net"]["sysctlFiles"], { known: true }>["value"],
): readonly Finding[] {
  const wanted = wantedBy(attachments);
  return SWITCHES.flatMap((key) => {
    const setting = settings.get(key);
    if (setting === undefined || setting.value !== "0") return [];
    const say = wanted.has(key) ? warning : note;
    const seen = `${setting.file} sets ${sysctlName(key)} to 0`;
    return [say("forwarding-file", setting.file, seen, `set ${sysctlName(key)} = 1 in ${setting.file}`)];
  });
}
