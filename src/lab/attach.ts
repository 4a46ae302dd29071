/**
 * Containers of a lab: named network namespaces of a host, attached by the host's own configuration with the host's own
 * `heddle cni`. A record is written before anything is made, so that `detach` knows whatever was begun.
 */
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { configFiles, readNetworkFile } from "../cni/load.ts";
import { decodeAs, object, parseJson, required, text } from "../cni/json.ts";
import { NetError } from "../errors.ts";
import { openNetlink } from "../netlink/socket.ts";
import { setLink } from "../rtnl/link.ts";
import { endWithParent, enterForGood, leaveFor, ownNamespace } from "../sys/become.ts";
import { O, openFile } from "../sys/files.ts";
import { detachMount, mountBind } from "../sys/mounts.ts";
import { namesIn, namespacesOf, processesIn, signal } from "./ids.ts";
import { labPaths, NETNS_DIRECTORY } from "./paths.ts";
import { type LabRunner, type Ran, runIn } from "./processes.ts";

/** The word that makes this executable make a named namespace in a host. */
export const NETNS_COMMAND = "lab-netns";

/** Makes the namespace `name` in a host, its loopback up, and ends; `ip netns` there shows it. */
export function runNetns(lab: string, host: string, name: string, parent: number): void {
  if (!endWithParent(parent)) return;
  const { mnt } = labPaths(lab).host(host);
  enterForGood("mnt", openFile(mnt, O.RDONLY).raw);
  leaveFor("net");
  using socket = openNetlink("route");
  setLink(socket, { name: "lo" }, { up: true });
  const path = `${NETNS_DIRECTORY}/${name}`;
  writeFileSync(path, "", { flag: "wx" });
  mountBind(ownNamespace("net"), path, { recursive: false });
}

export interface Container {
  readonly name: string;
  /** The network that it was attached to. */
  readonly network: string;
}
const readContainer = object({ name: required(text), network: required(text) });

/** The containers of a host, by name, with those whose attachment has not ended well. */
export const listContainers = (lab: string, host: string): readonly Container[] => {
  const { containers } = labPaths(lab).host(host);
  return namesIn(containers)
    .filter((file) => file.endsWith(".json"))
    .map((file) => {
      const path = `${containers}/${file}`;
      return decodeAs(path, readContainer, parseJson(readFileSync(path, "utf8"), path));
    });
};

/** The first list in the host's directory of configurations, in the order of its files, as runtimes choose it. */
function defaultNetwork(lab: string, host: string): string {
  const directory = `${labPaths(lab).host(host).dir}/fs/etc/cni/net.d`;
  const [file] = configFiles(directory, [".conflist", ".conf", ".json"]);
  if (file === undefined)
    throw new NetError("config/not-found", {
      what: "network configuration",
      where: `/etc/cni/net.d of ${host}`,
    });
  return readNetworkFile(file).name;
}

/** Attaches a new container and returns its addresses, with their prefix lengths. A failure takes it back. */
export async function attach(
  runner: LabRunner,
  host: string,
  name: string,
  network = defaultNetwork(runner.lab, host),
): Promise<readonly string[]> {
  const paths = labPaths(runner.lab).host(host);
  const record = `${paths.containers}/${name}.json`;
  try {
    writeFileSync(record, JSON.stringify({ name, network } satisfies Container), { flag: "wx" });
  } catch (cause) {
    throw new NetError("usage/invalid", { why: `${host} has a container "${name}" already` }, { cause });
  }
  try {
    await makeNamespace(runner, host, name);
    const added = await cni(runner, host, "add", network, name);
    return readResult(added.stdout);
  } catch (e) {
    await detach(runner, host, name).catch(() => undefined);
    throw e;
  }
}

async function makeNamespace({ lab, program }: LabRunner, host: string, name: string): Promise<void> {
  const child = Bun.spawn([...program, NETNS_COMMAND, lab, host, name, String(process.pid)], {
    argv0: "heddle",
    stdin: "ignore",
    stdout: "ignore",
    stderr: "pipe",
  });
  const [said, code] = await Promise.all([child.stderr.text(), child.exited]);
  if (code !== 0) throw new NetError("program/failed", { program: NETNS_COMMAND, why: said.trim() });
}

async function cni(
  runner: LabRunner,
  host: string,
  verb: "add" | "del",
  network: string,
  name: string,
): Promise<Ran> {
  const argv = [...runner.program, "cni", verb, network, `${NETNS_DIRECTORY}/${name}`];
  const ran = await runIn(runner, host, argv);
  if (ran.code !== 0)
    throw new NetError("program/failed", {
      program: `heddle cni ${verb} in ${host}`,
      why: ran.stderr.trim(),
    });
  return ran;
}

const readIps = object({
  ips: required((value, at) => (Array.isArray(value) ? value.map((v) => readIp(v, at)) : [])),
});
const readIp = object({ address: required(text) });
const readResult = (printed: string): readonly string[] =>
  decodeAs("result of cni add", readIps, parseJson(printed, "result of cni add")).ips.map(
    ({ address }) => address,
  );

/**
 * Detaches a container and removes it, with the programs that run in it.
 * @throws usage/invalid if there is none of that name; program/failed if its network cannot be taken back: it stays then
 */
export async function detach(runner: LabRunner, host: string, name: string): Promise<void> {
  const lab = labPaths(runner.lab);
  const paths = lab.host(host);
  const container = listContainers(runner.lab, host).find((c) => c.name === name);
  if (container === undefined)
    throw new NetError("usage/invalid", { why: `${host} has no container "${name}"` });
  const file = `${paths.netns}/${name}`;
  if (existsSync(file)) {
    await cni(runner, host, "del", container.network, name);
    const own = new Map([...namespacesOf(lab)].filter(([id]) => id === `net:[${statSync(file).ino}]`));
    for (const { id } of processesIn(own)) signal(id, "SIGKILL");
    detachMount(file);
    rmSync(file, { force: true });
  }
  rmSync(`${paths.containers}/${name}.json`, { force: true });
}
