/** What runs out: tracked connections, and the addresses of a range. */
import { plural } from "../commands.ts";
import { type HostFacts, networksOf } from "../facts.ts";
import { cannotTell, type Check, type Finding, problem, warning, whenSeen } from "../finding.ts";

type Facts = Pick<HostFacts, "config" | "net">;

/** Part of the table in use. */
const FULL = 0.95;
const FILLING = 0.75;
/** Entries to a bucket that the table may come to; the kernel's own default is 1, or 4 with an older one. */
const CHAIN = 8;

export const limits: Check<Facts> = {
  ids: ["conntrack-full", "conntrack-buckets", "addresses-free"],
  run: ({ config, net }) => [
    ...whenSeen(["conntrack-full", "conntrack-buckets"], net.sysctls, (sysctls) => {
      const number = (name: string): number =>
        Number(sysctls.get(`net/netfilter/nf_conntrack_${name}`) ?? Number.NaN);
      const [count, max, buckets] = [number("count"), number("max"), number("buckets")];
      return [...conntrackFull(count, max), ...conntrackBuckets(max, buckets)];
    }),
    ...whenSeen("addresses-free", networksOf(config), (networks) =>
      networks.flatMap(({ name, pools }) =>
        pools.flatMap(({ text, capacity, used }): readonly Finding[] =>
          used.known
            ? freeAddresses(name, text, capacity, used.value)
            : [cannotTell("addresses-free", used.why, text)],
        ),
      ),
    ),
  ],
};

/** A kernel that tracks nothing has none of these numbers; a maximum of zero is no limit (nf_conntrack-sysctl). */
function conntrackFull(count: number, max: number): readonly Finding[] {
  if (!(max > 0) || !(count / max >= FILLING)) return [];
  const say = count / max >= FULL ? problem : warning;
  const seen = `${count} of ${max} connections are tracked (${Math.floor((100 * count) / max)} %)`;
  return [
    say("conntrack-full", "nf_conntrack_max", seen, `sysctl -w net.netfilter.nf_conntrack_max=${max * 2}`),
  ];
}

function conntrackBuckets(max: number, buckets: number): readonly Finding[] {
  if (!(buckets > 0) || !(max / buckets > CHAIN)) return [];
  const seen = `${max} connections may be tracked in ${buckets} buckets, ${Math.round(max / buckets)} in one`;
  const size = Math.ceil(max / 4);
  const cure = `echo ${size} > /sys/module/nf_conntrack/parameters/hashsize`;
  return [warning("conntrack-buckets", "nf_conntrack_buckets", seen, cure)];
}

/** Below a tenth, and below so many, a range is nearly used up. */
const TENTH = 10n;
const FEW = 16n;

function freeAddresses(network: string, range: string, capacity: bigint, used: bigint): readonly Finding[] {
  const free = capacity > used ? capacity - used : 0n;
  if (free * TENTH >= capacity || free > FEW) return [];
  const say = free === 0n ? problem : warning;
  const seen = `network ${network} has ${plural(free, "free address", "free addresses")} of ${capacity} in ${range}`;
  return [
    say(
      "addresses-free",
      range,
      seen,
      `heddle gc`,
      `add a range to "ranges" of network ${network}, or widen this one`,
    ),
  ];
}
