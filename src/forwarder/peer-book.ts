/**
 * The peers as they stand, and their file: a forwarder that is started again after its death goes on with them at once,
 * before anybody has told it anything.
 */
import { NetError } from "../errors.ts";
import { dirOf, makeDirs, O, putText, readText, renameFile, unlessErrno } from "../sys/files.ts";
import type { Peer } from "./peers.ts";
import { MOST_PEERS, parsePeers, peerJson } from "./requests.ts";

export interface PeerBook {
  readonly peers: readonly Peer[];
  set(peer: Peer): void;
  /** False if there was none. */
  remove(id: string): boolean;
  replaceAll(peers: readonly Peer[]): void;
}

const VERSION = 1;

/** Opens the file, or begins one with nobody in it. What cannot be read there is told to `log`, and nobody is known. */
export function openPeerBook(path: string, family: 4 | 6, log: (line: string) => void): PeerBook {
  const peers = new Map(readPeers(path, family, log).map((peer) => [peer.id, peer]));
  const save = (): void => {
    makeDirs(dirOf(path), 0o700);
    const draft = `${path}.new`;
    const text = JSON.stringify({ version: VERSION, peers: [...peers.values()].map(peerJson) });
    putText(draft, text, O.CREAT | O.TRUNC | O.NOFOLLOW);
    renameFile(draft, path);
  };
  return {
    get peers() {
      return [...peers.values()];
    },
    set(peer) {
      if (!peers.has(peer.id) && peers.size >= MOST_PEERS)
        throw new NetError("usage/invalid", { why: `there are ${MOST_PEERS} peers, which is the most` });
      peers.set(peer.id, peer);
      save();
    },
    remove(id) {
      const was = peers.delete(id);
      if (was) save();
      return was;
    },
    replaceAll(all) {
      peers.clear();
      for (const peer of all) peers.set(peer.id, peer);
      save();
    },
  };
}

function readPeers(path: string, family: 4 | 6, log: (line: string) => void): readonly Peer[] {
  const text = unlessErrno(["ENOENT"], () => readText(path, O.NOFOLLOW));
  if (text === undefined) return [];
  try {
    const { version, peers } = JSON.parse(text) as { version?: unknown; peers?: unknown };
    if (version !== VERSION) throw new NetError("usage/invalid", { why: `version ${String(version)}` });
    return parsePeers(peers, family);
  } catch (e) {
    log(`the peers in ${path} cannot be read (${(e as Error).message}); it begins with none`);
    return [];
  }
}
