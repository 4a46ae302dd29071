import { type Bus, openSystemBus, type Reply } from "../dbus/bus.ts";
import { NetError } from "../errors.ts";
import { hostPrefix, type Ip, type IpPrefix } from "../net/ip.ts";
import type { FirewallBackend, FirewallState, Mark } from "./model.ts";

/**
 * Containers in firewalld: their addresses become sources of a zone, `trusted` as a rule, so that its own chains let them
 * pass. Over D-Bus, and only if it runs: it is never started. A source of a zone has no place for an owner, so that
 * removal goes by the record; and it is there once for all that have the address, so that it stays until the last.
 */
export const FIREWALLD = "org.fedoraproject.FirewallD1";
const DEFAULT_ZONE = "trusted";

/** Whether firewalld runs on this host; false, too, if the bus cannot be asked: then it could not be told anything. */
export function firewalldRuns(open: () => Bus | undefined = openSystemBus): boolean {
  try {
    using bus = open();
    return bus?.hasOwner(FIREWALLD) === true;
  } catch (e) {
    if (e instanceof NetError) return false;
    throw e;
  }
}

/** Who else has the same sources. */
export interface Sharers {
  /** Nobody else looks, adds or removes until it is given back. */
  lock(): Disposable;
  /** True if an attachment other than `mark` that lives, or is being made, has the address as a source of that zone. */
  need(address: Ip, zone: string, mark: Mark): boolean;
}

interface FirewalldOptions {
  readonly open?: () => Bus | undefined;
  readonly sharers?: Sharers;
}

const alone: Sharers = { lock: () => new DisposableStack(), need: () => false };

/** The zone that the addresses of a state become sources of. */
export const zoneOf = ({ firewalldZone }: Pick<FirewallState, "firewalldZone">): string =>
  firewalldZone ?? DEFAULT_ZONE;

/** Opens no connection before the first call. */
export function openFirewalld({
  open = openSystemBus,
  sharers = alone,
}: FirewalldOptions = {}): FirewallBackend {
  /** What `apply` answers for, once it was called: `remove` takes back no more than that. */
  let applied: Set<string> | undefined;
  return {
    apply(state, mark) {
      using zone = openZone(open, state) ?? refuse();
      using _lock = sharers.lock();
      using undo = new DisposableStack();
      applied ??= new Set();
      for (const address of addressesOf(state)) {
        // Before it is asked: the answer may be lost.
        applied.add(address.text);
        const reply = zone.ask("addSource", address);
        if (reply.kind === "return") {
          undo.defer(() => zone.ask("removeSource", address));
          continue;
        }
        // One that another attachment of ours has may be this one's alone by the time it goes.
        if (!isThere(reply) || !sharers.need(address, zone.name, mark)) applied.delete(address.text);
        if (!isThere(reply)) throw refusal(reply, zone.name, address);
      }
      undo.move();
      return [];
    },

    refuseTaken: () => {},

    verify(state) {
      using zone = openZone(open, state) ?? refuse();
      for (const address of addressesOf(state)) {
        const reply = zone.ask("querySource", address);
        if (reply.kind === "error") throw refusal(reply, zone.name, address);
        if (reply.values[0] !== true)
          throw new NetError("check/differs", {
            what: `source ${hostPrefix(address).text} of firewalld's zone ${zone.name}`,
            wanted: "present",
            found: "nothing",
          });
      }
    },

    remove(mark, state) {
      // A firewalld that does not run has forgotten everything.
      using zone = state && openZone(open, state);
      if (zone === undefined || state === undefined) return;
      using _lock = sharers.lock();
      const left = addressesOf(state).flatMap((address) => {
        if (applied?.has(address.text) === false || sharers.need(address, zone.name, mark)) return [];
        const reply = zone.ask("removeSource", address);
        return reply.kind === "return" || isGone(reply) ? [] : [refusal(reply, zone.name, address)];
      });
      if (left.length > 0) throw left.length === 1 ? left[0] : new AggregateError(left, "firewalld");
    },

    // Records tell what dead attachments have.
    prune: () => {},
  };
}

/** Throws `status/unavailable` if firewalld cannot take containers into that zone. */
export function requireZone(name: string | undefined, open: () => Bus | undefined = openSystemBus): void {
  const zone = openZone(open, name === undefined ? {} : { firewalldZone: name });
  if (zone === undefined)
    throw new NetError("status/unavailable", {
      why: "firewalld does not run, and the configuration asks for it",
    });
  using open_ = zone;
  const reply = open_.zoneNames();
  if (reply.kind === "return" && !(reply.values[0] as readonly unknown[]).includes(zone.name))
    throw new NetError("status/unavailable", { why: `firewalld has no zone "${zone.name}"` });
}

const addressesOf = ({ rules }: FirewallState): Ip[] =>
  rules.flatMap((rule) => {
    if (rule.kind !== "accept-forward") throw new TypeError(`firewalld cannot do this: ${rule.kind}`);
    return [rule.address];
  });

const sourceText = (source: Ip | IpPrefix): string => ("bits" in source ? source : hostPrefix(source)).text;

/**
 * Makes whole networks sources of the zone `trusted`, whose packets pass, until firewalld is reloaded. Returns those that were
 * not yet; none where it does not run.
 * @throws program/failed, config/invalid
 */
export function trustNetworks(
  networks: readonly IpPrefix[],
  open: () => Bus | undefined = openSystemBus,
): readonly IpPrefix[] {
  using zone = openZone(open, {});
  if (zone === undefined) return [];
  return networks.filter((network) => {
    const reply = zone.ask("addSource", network);
    if (reply.kind === "return") return true;
    if (isThere(reply)) return false;
    throw refusal(reply, zone.name, network);
  });
}

interface Zone extends Disposable {
  readonly name: string;
  ask(member: "addSource" | "removeSource" | "querySource", source: Ip | IpPrefix): Reply;
  zoneNames(): Reply;
}

function openZone(
  open: () => Bus | undefined,
  state: Pick<FirewallState, "firewalldZone">,
): Zone | undefined {
  const name = zoneOf(state);
  const bus = open();
  if (bus === undefined) return undefined;
  if (!bus.hasOwner(FIREWALLD)) {
    bus[Symbol.dispose]();
    return undefined;
  }
  const call = (member: string, ...args: readonly string[]): Reply =>
    bus.call({
      destination: FIREWALLD,
      path: "/org/fedoraproject/FirewallD1",
      interface: `${FIREWALLD}.zone`,
      member,
      args,
    });
  return {
    name,
    ask: (member, source) => call(member, name, sourceText(source)),
    zoneNames: () => call("getZones"),
    [Symbol.dispose]: () => bus[Symbol.dispose](),
  };
}

function refuse(): never {
  throw new NetError("program/failed", {
    program: "firewalld",
    why: `nobody owns ${FIREWALLD} on the system bus: start it, or choose another backend`,
  });
}

type Failure = Extract<Reply, { kind: "error" }>;

const isThere = ({ message }: Failure): boolean => message.startsWith("ZONE_ALREADY_SET");

/** Errors of firewalld begin with a word: UNKNOWN_SOURCE, INVALID_ZONE (firewall/errors.py). */
const isGone = ({ message }: Failure): boolean =>
  ["UNKNOWN_SOURCE", "NOT_ENABLED", "INVALID_ZONE", "ZONE_CONFLICT"].some((word) => message.startsWith(word));

function refusal({ name, message }: Failure, zone: string, source: Ip | IpPrefix): NetError {
  if (message.startsWith("INVALID_ZONE"))
    return new NetError("config/invalid", { field: "firewalldZone", why: `firewalld has no zone "${zone}"` });
  return new NetError("program/failed", {
    program: "firewalld",
    why: `${source.text} in zone ${zone}: ${message || name}`,
  });
}
