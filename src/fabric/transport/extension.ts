/** A data path that commands of the operator make: the kernel gets nothing of ours. Flannel's `extension`. */
import { type CommandPeer, valuesOf } from "../commands/wish.ts";
import { nothing } from "../host-state.ts";
import type { BackendData, FabricNode, Trouble, View } from "../model.ts";
import { type Made, made, trouble } from "./peers.ts";
import type { Transport } from "./transport.ts";

export interface ExtensionTransport extends Transport {
  /** The hosts that the commands are run for. The troubles are those of `desired`. */
  readonly peers: (view: View) => readonly CommandPeer[];
  /** What this host tells the others: what a command has printed; undefined: there is none. */
  readonly telling: (said: string | undefined) => BackendData;
}

const TYPE = "extension";
/** Longest text that a host announces, in characters of JSON: as much as an annotation of a node is read of. */
export const SAID_LIMIT = 16_384;

export function extensionTransport(): ExtensionTransport {
  const known = new WeakMap<
    FabricNode,
    { readonly view: View["network"]; readonly made: Made<CommandPeer> }
  >();
  const lists = new WeakMap<View, readonly CommandPeer[]>();
  const peerOf = (node: FabricNode, view: View): Made<CommandPeer> => {
    const before = known.get(node);
    if (before?.view === view.network) return before.made;
    const now = peerFrom(node, view);
    known.set(node, { view: view.network, made: now });
    return now;
  };
  return {
    type: TYPE,
    families: [4, 6],
    publics: "shared",
    mtuBytes: ({ external }) => external.mtuBytes,
    announce: () => ({ type: TYPE }),
    telling,
    desired: (view) => ({
      state: nothing,
      troubles: view.peers.flatMap((node): readonly Trouble[] => {
        const peer = peerOf(node, view);
        return peer.ok ? [] : [peer.trouble];
      }),
    }),
    peers: (view) => {
      const before = lists.get(view);
      if (before !== undefined) return before;
      const now = view.peers.flatMap((node) => {
        const peer = peerOf(node, view);
        return peer.ok ? [peer.value] : [];
      });
      lists.set(view, now);
      return now;
    },
  };
}

/** As flanneld: beside IPv4's data, whatever the family is. */
const telling = (said: string | undefined): BackendData => ({
  type: TYPE,
  ...(said === undefined ? {} : { v4: said }),
});

function peerFrom(node: FabricNode, { network }: View): Made<CommandPeer> {
  const { id, subnets, publics, backend } = node;
  if (backend.type !== TYPE)
    return trouble("backend-other", node, `its backend is ${backend.type}, not ${TYPE}`);
  const data = backend.v4 ?? "";
  if (typeof data !== "string") return trouble("backend-malformed", node, "what it tells is no text");
  if (data.length > SAID_LIMIT)
    return trouble("backend-malformed", node, `what it tells is longer than ${SAID_LIMIT} characters`);
  return made({ id, values: valuesOf(network, subnets, publics), data });
}
