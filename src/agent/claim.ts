/**
 * What two agents must not share, whichever sockets they are asked at: each would take the other's links and routes for its
 * own, and remove them. Claimed by locks among our own files, which go with the process.
 */
import { isNetError, NetError } from "../errors.ts";
import { runDir } from "../netstate/record.ts";
import { makeDirs, removeIfThere, statPath } from "../sys/files.ts";
import { tryLockFile } from "../sys/flock.ts";
import type { AgentSettings } from "./settings.ts";

/**
 * Claims the owner's name and protocol number in this network namespace, and the file for the CNI plugin.
 * @throws usage/invalid if an agent that runs has one of them
 */
export function claimHost(
  { owner, flannel }: Pick<AgentSettings, "owner"> & { readonly flannel: { readonly subnetFile: string } },
  dir = `${runDir()}/lock`,
): Disposable {
  using stack = new DisposableStack();
  if (!canHave(dir)) return stack.move();
  const netns = statPath("/proc/self/ns/net")?.ino ?? 0;
  const file = new Bun.CryptoHasher("sha256").update(flannel.subnetFile).digest("hex").slice(0, 16);
  for (const [name, what] of [
    [`${netns}-name-${owner.name}`, `the name "${owner.name}"`],
    [`${netns}-protocol-${owner.routeProtocol}`, `the routeProtocol ${owner.routeProtocol}`],
    [`file-${file}`, `the subnetFile ${flannel.subnetFile}`],
  ] as const) {
    const path = `${dir}/agent-${name}`;
    const lock = tryLockFile(path);
    if (lock === undefined)
      throw new NetError("usage/invalid", {
        why:
          `an agent that runs on this host has ${what}: a second network needs an agent with a name, a routeProtocol, a ` +
          "subnetFile and an api.socket of its own, which are keys of `heddle agent --config`; flanneld has no flags for them",
      });
    stack.use(lock);
    // Before it is given back.
    stack.defer(() => void removeIfThere(path));
  }
  return stack.move();
}

/** In a container it may be that nothing can be written there, and nobody else can see it then. */
function canHave(dir: string): boolean {
  try {
    makeDirs(dir, 0o700);
    return true;
  } catch (e) {
    if (isNetError(e, "sys/call") && ["EROFS", "EACCES", "EPERM"].includes(e.detail.errno)) return false;
    throw e;
  }
}
