/** The agent's hands on a real host: kernel, files and firewall, for a Flannel network. */
import { stateDir } from "../dhcp/store.ts";
import { isNetError, NetError } from "../errors.ts";
import type { FabricNode, Publics, Subnets } from "../fabric/model.ts";
import { openReconciler } from "../fabric/reconcile/reconciler.ts";
import { viewOf } from "../fabric/view.ts";
import { furtherUdpDevice, UDP_DEVICE } from "../fabric/transport/udp.ts";
import { openNetlink } from "../netlink/socket.ts";
import { runDir } from "../netstate/record.ts";
import {
  type FirewallKeeper,
  firewallKind,
  keepFirewall,
  type PerformTask,
} from "../providers/flannel/firewall.ts";
import { partsOf, readNetwork, subnetEnvOf } from "../providers/flannel/provider.ts";
import { type Previous, readPrevious, writeSubnetEnv } from "../providers/flannel/subnet-env.ts";
import { keepKeys } from "../providers/flannel/wireguard-keys.ts";
import { readText, removeIfThere, unlessErrno } from "../sys/files.ts";
import { openCarrier } from "./carrier.ts";
import { hasRecord } from "./commands/record.ts";
import { type Heard, openCommandRunner } from "./commands/runner.ts";
import { FIREWALL_COMMAND, openFirewallRunner } from "./firewall-runner.ts";
import { hostLooker, kernelSource } from "./host.ts";
import { watchHost } from "./kernel-watch.ts";
import { memoryDir, type MemoryFile, memoryFile } from "./memory-file.ts";
import type { AgentEvent, KernelNews, Network, Rules } from "./model.ts";
import { keyOfOffer } from "./offer.ts";
import type { OpenedRegistry } from "./registry-of.ts";
import { type AgentSettings, DEFAULT_OWNER } from "./settings.ts";
import type { Ports } from "./shell.ts";

/** How often is looked at what nobody tells of, in milliseconds. */
const PERIODS = { config: 30_000, host: 60_000, kernel: 60_000, carrier: 5_000 } as const;

type HostPorts = Pick<
  Ports,
  | "rules"
  | "lookAtHost"
  | "reconcile"
  | "carry"
  | "command"
  | "commandsLeft"
  | "publish"
  | "protect"
  | "remember"
>;

export interface OpenedHost extends AsyncDisposable {
  readonly ports: HostPorts;
  /** What an earlier agent of this host has left, if it has. */
  found(): AgentEvent | undefined;
  /** Begins to listen to the kernel; what is told is said in `KernelWatchSetup`. */
  listen(setup: {
    readonly tell: (what: "objects" | "host" | "rules") => void;
    readonly heard: (what: KernelNews, why: unknown) => void;
    readonly carrierLost: () => void;
  }): void;
}

/** Opens what the agent needs of the namespace that this process is in. `before`: what it had when it last wrote its file. `program`: this one, as it is started again. `heard`: what commands print. */
export function openHost(
  { flannel, owner, node }: AgentSettings,
  before: Previous | undefined,
  { told, ownId }: Pick<OpenedRegistry, "told" | "ownId">,
  program: readonly string[],
  heard: (heard: Heard) => void,
): OpenedHost {
  const stack = new AsyncDisposableStack();
  /** Names of what there is once on a host are flanneld's for its first fabric, and another fabric's own. */
  const further = owner.name === DEFAULT_OWNER.name ? undefined : owner.name;
  const udpDevice = further === undefined ? UDP_DEVICE : furtherUdpDevice(further);
  let carrierLost = (): void => {};
  // By the device's name the forwarder is found: what it is told, and its end, are never for another fabric's.
  const carrier = stack.use(
    openCarrier({ program, dir: `${runDir()}/forwarder`, device: udpDevice, lost: () => carrierLost() }),
  );
  const commandsDir = `${runDir()}/commands/${owner.name}`;
  const commands = stack.use(openCommandRunner({ dir: commandsDir, heard }));
  const reconciler = stack.use(openReconciler(owner));
  const firewall = stack.use(openFirewallRunner([...program, FIREWALL_COMMAND]));
  const look = hostLooker(kernelSource(stack.use(openNetlink("route"))), flannel.external);
  const memory = memoryFile(
    { dir: memoryDir(stateDir()), name: owner.name },
    { node, store: storeKey(flannel.store) },
  );
  const keys = keepKeys(flannel.wireguardKeyFile);
  const rules: Rules = {
    readNetwork: (text) => readNetwork(text, { blackholeRoute: flannel.blackholeRoute, udpDevice }),
    viewOf,
    periods: { ...PERIODS, firewall: flannel.resyncSeconds * 1_000 },
  };
  return {
    ports: {
      rules,
      lookAtHost: async (whole, { instead, before: addresses, withKeys }) => {
        const said = await orElse(told, instead);
        const seen = look(whole, { told: said, keys: withKeys ? keys() : undefined, before: addresses });
        const id = ownId?.();
        return id === undefined ? seen : { ...seen, id };
      },
      reconcile: async (wanted, { full, keep }) => {
        if (full) reconciler.relist();
        return reconciler.reconcile(wanted, { keep });
      },
      carry: (wish) => carrier.carry(wish),
      command: (wish) => commands.bring(wish),
      commandsLeft: hasRecord(commandsDir),
      publish: async (offer) => {
        const path = flannel.subnetFile;
        if (offer === undefined) return void removeIfThere(path);
        const { network, self, mtuBytes } = offer;
        const text = subnetEnvOf(network, self, { mtuBytes, ipMasq: flannel.masquerade !== undefined });
        if (unlessErrno(["ENOENT"], () => readText(path)) !== text) writeSubnetEnv(path, text);
      },
      protect: protector({ ...flannel, fabric: further }, before, firewall.perform),
      remember: (known) => memory.write(known),
    },
    found: () => recall(memory),
    listen({ tell, heard, ...more }) {
      carrierLost = more.carrierLost;
      const { routeProtocol } = owner;
      stack.use(watchHost({ reconciler, routeProtocol, tell, heard }));
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** What the store says that this host announces; `instead` stands for it while the store is away. */
async function orElse(
  told: OpenedRegistry["told"],
  instead: Publics | undefined,
): Promise<Publics | undefined> {
  try {
    return await told?.();
  } catch (e) {
    if (instead === undefined || !isNetError(e, "store/unavailable")) throw e;
    return instead;
  }
}

/** A file that cannot be used is told, and the next one takes its place. */
function recall(memory: MemoryFile): AgentEvent | undefined {
  try {
    const what = memory.read();
    return what && { kind: "recalled", what };
  } catch (e) {
    if (!(e instanceof NetError)) throw e;
    return { kind: "failed", job: "memory", why: `not used: ${e.message}` };
  }
}

/** Two settings with the same key mean the same network. Nothing secret is in it. */
function storeKey(store: AgentSettings["flannel"]["store"]): string {
  if (store.kind === "file") return `file ${store.dir} ${store.prefix}`;
  if (store.kind === "etcd") return `etcd ${store.endpoints.toSorted().join(",")} ${store.prefix}`;
  const at = store.apiUrl ?? store.kubeconfigFile ?? "of the pod";
  return `kubernetes ${at} ${store.annotationPrefix}`;
}

/** Keeps the firewall as the last offer wants it. */
function protector(
  { masquerade, acceptForwarded, fabric }: AgentSettings["flannel"] & { readonly fabric: string | undefined },
  before: Previous | undefined,
  perform: PerformTask,
): HostPorts["protect"] {
  let former = before;
  const named = fabric === undefined ? {} : { fabric };
  const options = () => ({ perform, ...(former ? { before: former } : {}) });
  let now: { readonly key: string; readonly keeper: FirewallKeeper } | undefined;
  const keeperOf = (network: Network, self: FabricNode): FirewallKeeper => {
    const parts = partsOf(network, self);
    const wish = { ...parts, acceptForwarded, ...named, ...(masquerade ? { masquerade } : {}) };
    const keeper = keepFirewall(wish, firewallKind(network.nftables, parts), options());
    former = parts;
    return keeper;
  };
  return async (offer) => {
    const key = keyOfOffer(offer);
    if (offer === undefined) {
      const nobody = keepFirewall({ acceptForwarded: false, ...named }, "nftables", options());
      const keeper = now?.keeper ?? nobody;
      await keeper.remove();
      now = undefined;
      return { mended: [], hindrances: keeper.hindrances() };
    }
    if (now?.key !== key) now = { key, keeper: keeperOf(offer.network, offer.self) };
    const { keeper } = now;
    return { mended: await keeper.ensure(), hindrances: keeper.hindrances() };
  };
}

/** What this host had when its file was written; `complain` hears why that is not known. */
export function hadBefore(path: string, complain: (why: string) => void): Previous | undefined {
  try {
    return readPrevious(path);
  } catch (e) {
    if (!isNetError(e, "decode/malformed") && !isNetError(e, "sys/call")) throw e;
    complain(e.message);
    return undefined;
  }
}

/** The subnets among it; undefined if there is none. */
export function subnetsOf({ v4, v6 }: Previous): Subnets | undefined {
  if (v4 === undefined && v6 === undefined) return undefined;
  return { ...(v4 ? { v4: v4.subnet } : {}), ...(v6 ? { v6: v6.subnet } : {}) };
}
