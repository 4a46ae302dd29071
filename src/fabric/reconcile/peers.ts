/**
 * Peers of tunnels. A peer is told by its key; all peers of a tunnel of ours are ours. Where a peer is may differ from what is
 * wanted: who is behind a translation, or has several addresses, is answered at where he was heard of last.
 */
import { NetError } from "../../errors.ts";
import { type PeerChange, peerRemoval, peerSetting, type WireguardPeer } from "../../genl/wireguard.ts";
import type { IpPrefix } from "../../net/ip.ts";
import { isSameSecret } from "../../net/wireguard-key.ts";
import type { FabricPeer } from "../host-state.ts";
import type { TableKind } from "./table.ts";
import type { KnownTunnels } from "./tunnels.ts";

export interface PeerInKernel extends WireguardPeer {
  /** Index of the tunnel's link. */
  readonly link: number;
  /** It was heard of a moment ago: it is where the kernel says. */
  readonly heard: boolean;
}

/** Of the protocol, in seconds: a packet after the first asks for new keys, one after the second is not taken any more. */
const [REKEY_AFTER_TIME, REJECT_AFTER_TIME] = [120, 180];
/** What new keys may take, with a try that is lost. */
const MARGIN_S = 10;

/** A peer that was not heard of for longer than it can be silent in a session is perhaps not where it was. */
function isHeard({ handshakeMs, keepaliveSeconds }: WireguardPeer, now: number): boolean {
  if (handshakeMs === undefined) return false;
  const longest = Math.max(REJECT_AFTER_TIME, REKEY_AFTER_TIME + keepaliveSeconds) + MARGIN_S;
  return Math.abs(now - handshakeMs) < longest * 1000;
}

/** `tunnels` gives what was read last, `now` milliseconds since the epoch by the clock that the kernel has. */
export function peerKind(
  tunnels: () => KnownTunnels,
  now: () => number,
): TableKind<FabricPeer, PeerInKernel> {
  const request = (make: (family: number) => ReturnType<typeof peerSetting>) => {
    const { family } = tunnels();
    return family === undefined
      ? new NetError("feature/missing", {
          feature: "wireguard over generic netlink",
          needs: "a kernel that was built with it",
        })
      : make(family);
  };
  return {
    object: "peer",
    keyOf: ({ publicKey, link }) => `${publicKey} ${link}`,
    keyOfFound: ({ publicKey, link }, { ours }) => `${publicKey} ${ours.get(link) ?? link}`,
    build({ link, ...peer }, { byName }) {
      const index = byName.get(link)?.index;
      return index === undefined ? undefined : { ...peer, link: index, heard: false };
    },
    list: () =>
      [...tunnels().devices.values()].flatMap(({ index, peers }) =>
        peers.map((peer) => ({ ...peer, link: index, heard: isHeard(peer, now()) })),
      ),
    read: () => undefined,
    fits: (built, found, _, last) =>
      built.link === found.link &&
      isSameSecret(built.presharedKey, found.presharedKey) &&
      built.keepaliveSeconds === found.keepaliveSeconds &&
      sameAllowed(built.allowed, found.allowed) &&
      isThere(built, found, last),
    isSame: () => true,
    isOurs: () => true,
    put: (built, instead, last) =>
      request((family) => peerSetting(family, built.link, changeOf(built, instead, last))),
    remove: ({ link, publicKey }) => peerRemoval(tunnels().family ?? 0, link, publicKey),
    goneErrors: ["ENODEV"],
  };
}

const placeOf = ({ endpoint }: Pick<WireguardPeer, "endpoint">): string | undefined =>
  endpoint && `${endpoint.ip.text} ${endpoint.port}`;

/** It is where it says, or else where it was heard of after it had said so. */
const isThere = (built: PeerInKernel, found: PeerInKernel, last: PeerInKernel | undefined): boolean =>
  placeOf(built) === placeOf(found) ||
  (found.heard && (last === undefined || placeOf(last) === placeOf(built)));

const sameAllowed = (a: readonly IpPrefix[], b: readonly IpPrefix[]): boolean =>
  a.length === b.length && lacking(a, b).length === 0;

/** Those of `a` that are not in `b`. */
function lacking(a: readonly IpPrefix[], b: readonly IpPrefix[]): readonly IpPrefix[] {
  const texts = new Set(b.map(({ text }) => text));
  return a.filter(({ text }) => !texts.has(text));
}

/** All of it for a peer that is not there, else what differs: a peer that loses its prefixes for a moment loses packets. */
function changeOf(
  built: PeerInKernel,
  found: PeerInKernel | undefined,
  last: PeerInKernel | undefined,
): PeerChange {
  const { publicKey, presharedKey, endpoint, keepaliveSeconds, allowed } = built;
  if (found === undefined)
    return {
      publicKey,
      presharedKey: presharedKey ?? "none",
      ...(endpoint ? { endpoint } : {}),
      keepaliveSeconds,
      allowed,
      onlyThese: true,
    };
  const extra = lacking(found.allowed, allowed).length > 0;
  return {
    publicKey,
    onlyIfThere: true,
    ...(isSameSecret(presharedKey, found.presharedKey) ? {} : { presharedKey: presharedKey ?? "none" }),
    ...(endpoint === undefined || isThere(built, found, last) ? {} : { endpoint }),
    ...(keepaliveSeconds === found.keepaliveSeconds ? {} : { keepaliveSeconds }),
    ...(sameAllowed(allowed, found.allowed)
      ? {}
      : { allowed: extra ? allowed : lacking(allowed, found.allowed), onlyThese: extra }),
  };
}
