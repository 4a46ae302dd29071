/** What containers that are gone have left: in records, reservations, the cache and the kernel. */
import { plural, some } from "../commands.ts";
import type { HostFacts } from "../facts.ts";
import { cannotTell, type Check, type Finding, warning, whenSeen } from "../finding.ts";
import type { CachedFact, RecordedAttachment, Reservation } from "../gather/state.ts";
import { allSeen } from "../seen.ts";

type Facts = Pick<HostFacts, "ruleSet" | "state">;

export const leftovers: Check<Facts> = {
  ids: [
    "attachment-dead",
    "record-unreadable",
    "reservation-orphan",
    "link-orphan",
    "rule-orphan",
    "cache-dead",
  ],
  run: ({ ruleSet, state }) => [
    ...whenSeen("attachment-dead", state.attachments, dead),
    ...whenSeen("record-unreadable", state.unreadable, (paths) =>
      paths.length === 0
        ? []
        : [
            warning(
              "record-unreadable",
              "",
              `${plural(paths.length, "record")} cannot be read: ${some(paths)}`,
              "heddle doctor --fix (removes those that are empty)",
              "of the others: detach the container, then remove the file",
            ),
          ],
    ),
    ...whenSeen(
      "reservation-orphan",
      allSeen({ reservations: state.reservations, attachments: state.attachments, cached: state.cached }),
      (seen) => orphans(seen.reservations, seen.attachments, seen.cached),
    ),
    ...whenSeen(["link-orphan", "rule-orphan"], state.unrecorded, unrecorded),
    ...whenSeen("rule-orphan", ruleSet.unrecorded, (marks) => rulesOf("chains of iptables", marks)),
    ...whenSeen(
      "cache-dead",
      allSeen({ cached: state.cached, attachments: state.attachments }),
      ({ cached, attachments }) => cacheDead(cached, attachments),
    ),
  ],
};

/** As many commands of one kind are given. */
const MOST = 5;

const rulesOf = (where: string, marks: readonly string[]): readonly Finding[] =>
  marks.length === 0
    ? []
    : [
        warning(
          "rule-orphan",
          "",
          `${where} hold rules of ${plural(marks.length, "attachment")} without a record: ${some(marks, 3)}`,
          "heddle cni gc NETWORK, with the network's list, or detach the containers again",
        ),
      ];

function unrecorded(lost: ReadonlyMap<string, readonly string[]>): readonly Finding[] {
  const marks = [...lost];
  const links = marks.flatMap(([mark, what]) =>
    what.filter((w) => w.startsWith("link ")).map((w) => ({ mark, name: w.slice("link ".length) })),
  );
  const rules = marks.filter(([, what]) => what.some((w) => !w.startsWith("link "))).map(([mark]) => mark);
  return [
    ...(links.length === 0
      ? []
      : [
          warning(
            "link-orphan",
            some(links.map((l) => l.name)),
            `${plural(links.length, "link")} with a mark and without a record: ${some(links.map((l) => `${l.name} (${l.mark})`))}`,
            "heddle cni gc NETWORK, or detach the containers again",
            ...links.slice(0, MOST).map(({ name }) => `if its container is gone: ip link delete ${name}`),
          ),
        ]),
    ...rulesOf("the nftables tables heddle", rules),
  ];
}

const keyOf = (a: {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
}): string => [a.network, a.containerId, a.ifname].join("/");

/** One finding for a network: after a crash there may be many. */
function dead(attachments: readonly RecordedAttachment[]): readonly Finding[] {
  const gone = attachments.filter((a) => a.state === "dead");
  return [...Map.groupBy(gone, (a) => a.owner.network)].map(([network, records]) => {
    // Every plugin of a list has a record of its own.
    const containers = [...Map.groupBy(records, (r) => keyOf(r.owner)).values()].flatMap(
      ([first]) => first ?? [],
    );
    const words = containers.map(({ owner, why }) => `${owner.containerId} (${owner.ifname}: ${why})`);
    const seen = `network ${network} has records of ${plural(containers.length, "container that is", "containers that are")} gone: ${some(words)}`;
    return warning("attachment-dead", network, seen, "heddle gc");
  });
}

/** An ADD reserves before anything else of it is to be seen. */
const YOUNG_SECONDS = 60;

function orphans(
  reservations: readonly Reservation[],
  attachments: readonly RecordedAttachment[],
  cached: readonly CachedFact[],
): readonly Finding[] {
  const known = [...attachments.map((a) => a.owner), ...cached];
  const has = (r: Reservation): boolean =>
    known.some(
      (k) =>
        k.network === r.network &&
        k.containerId === r.containerId &&
        (r.ifname === undefined || k.ifname === r.ifname),
    );
  const lost = reservations.filter((r) => r.ageSeconds > YOUNG_SECONDS && !has(r));
  return [...Map.groupBy(lost, (r) => r.network)].map(([network, of]) => {
    const words = of.map((r) => `${r.address} (${r.containerId === "" ? "nobody" : r.containerId})`);
    return warning(
      "reservation-orphan",
      network,
      `network ${network} has ${plural(of.length, "reserved address", "reserved addresses")} of no attachment that Heddle or its cache knows: ${some(words)}`,
      "if no other runtime has these containers:",
      ...of.slice(0, MOST).map((r) => `rm ${r.file}`),
    );
  });
}

function cacheDead(
  cached: readonly CachedFact[],
  attachments: readonly RecordedAttachment[],
): readonly Finding[] {
  const recorded = new Set(attachments.map((a) => keyOf(a.owner)));
  const gone = cached.filter((c) => !c.live && c.netns !== undefined);
  const unknown = cached.filter((c) => c.netns === undefined);
  // Those with a record are told of by it.
  const lost = gone.filter((c) => !recorded.has(keyOf(c)));
  const kinds = [
    { of: lost.filter((c) => c.ours), cure: "heddle gc" },
    { of: lost.filter((c) => !c.ours), cure: "remove the containers with the runtime that attached them" },
  ];
  return [
    ...kinds.flatMap(({ of, cure }) =>
      [...Map.groupBy(of, (c) => c.network)].map(([network, containers]) => {
        const words = containers.map((c) => `${c.containerId} (${c.ifname}: ${c.netns} is gone)`);
        const seen = `the cache of network ${network} has ${plural(containers.length, "container")} without a namespace: ${some(words)}`;
        return warning("cache-dead", network, seen, cure);
      }),
    ),
    ...(unknown.length === 0
      ? []
      : [cannotTell("cache-dead", `the cache names no namespace of ${some(unknown.map(keyOf))}`)]),
  ];
}
