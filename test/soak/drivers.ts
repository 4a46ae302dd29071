/** How each runtime starts and stops a container, and how many it has at once. */
import type { Entry } from "../../src/cli/ps/entry.ts";
import type { Ground, GroundProcess } from "../runtimes/ground.ts";
import { IMAGE } from "../runtimes/image.ts";
import { endPod, runPod } from "../runtimes/pods.ts";
import type { Containerd } from "../runtimes/containerd.ts";
import type { Docker } from "../runtimes/docker.ts";
import type { Podman } from "../runtimes/podman.ts";
import { listsDriver, listsOf } from "./lists.ts";
import type { Driver, RuntimeName } from "./model.ts";
import { DOCKER_NETWORK, PODMAN_NETWORK, type Site } from "./site.ts";

/** What a container of the image runs to tell its name. */
const serving = (name: string): readonly string[] => [
  "sh",
  "-c",
  `echo ${name} > /www/index.html; exec httpd -f -h /www -p 80`,
];

export function driversOf(
  site: Site,
  runtimes: readonly RuntimeName[],
  roll: (below: number) => number,
  took: (verb: "ADD" | "DEL", ms: number) => void,
): ReadonlyMap<RuntimeName, Driver> {
  const { on, containerd, docker, podman } = site;
  const all: Readonly<Record<RuntimeName, Driver | undefined>> = {
    lists: listsDriver(on, listsOf.lists, { most: 20, lanes: 2, ports: true }, roll, took),
    dhcp: listsDriver(on, listsOf.dhcp, { most: 6, lanes: 1, ports: false }, roll, took),
    pods: containerd && podsDriver(containerd),
    ctr: containerd && ctrDriver(on, containerd),
    docker: docker && dockerDriver(docker),
    podman: podman && podmanDriver(podman),
  };
  return new Map(
    runtimes.flatMap((name) => {
      const driver = all[name];
      return driver === undefined ? [] : [[name, driver] as const];
    }),
  );
}

/** As a kubelet: what it does not know of and has its name is ended all the same. */
const podsDriver = (containerd: Containerd): Driver => ({
  most: 8,
  lanes: 2,
  ports: true,
  keeper: "containerd-shim",
  start: async (name, port) => {
    const ports = port === undefined ? [] : [{ hostPort: port, containerPort: 80 }];
    const { id, ip } = await runPod(containerd.cri(), name, ports);
    return { addresses: [ip], id, page: "served" };
  },
  stop: async (name) => {
    const cri = containerd.cri();
    const { items = [] } = await cri.call("ListPodSandbox", {});
    for (const { id = "", metadata } of items) if (metadata?.name === name) await endPod(cri, id);
  },
});

/** What the client says of a network that it could not take back, while its container has ended. */
const NETWORK_LEFT = /^.*failed \(delete\).*$/m;

/**
 * The client stays for as long as its container, and takes back the network itself, once: who has killed it needs `heddle gc`.
 * When it loses containerd it does so, too, and the container runs on without a network.
 */
function ctrDriver(on: Ground, { running }: Containerd): Driver {
  const clients = new Map<string, GroundProcess>();
  return {
    most: 3,
    lanes: 1,
    ports: false,
    keeper: "containerd-shim",
    livesWithDaemon: true,
    start: async (name) => {
      const client = await on.start(["ctr", "run", "--cni", IMAGE, name, ...serving(name)]);
      clients.set(name, client);
      const ended = client.exited.then((code) => {
        throw new Error(`ctr run ${name} ended with ${code}\n${client.log.lines().join("\n")}`);
      });
      ended.catch(() => undefined); // It does so in the end, when nobody waits for it any more.
      await Promise.race([running(name), ended]);
      const { stdout } = await on.exec(["heddle", "ps", "--json", "--container", `default-${name}`]);
      const [entry] = JSON.parse(stdout) as readonly Entry[];
      return { addresses: [entry?.addresses[0]?.split("/")[0] ?? "none"], id: name, page: name };
    },
    stop: async (name) => {
      const client = clients.get(name);
      const calls = [
        ["task", "kill", "--signal", "SIGKILL", name],
        ["task", "rm", "--force", name],
        ["container", "rm", name],
      ];
      for (const [nth, words] of calls.entries()) {
        const { code, stderr } = await on.exec(["ctr", ...words], { mustSucceed: false });
        if (code !== 0 && !/not found|no running task/.test(stderr)) throw new Error(stderr);
        if (nth === 0) await client?.exited;
      }
      clients.delete(name);
      const said = NETWORK_LEFT.exec(client?.log.lines().join("\n") ?? "")?.[0];
      if (said !== undefined) throw new Error(said);
    },
  };
}

const dockerDriver = ({ docker }: Docker): Driver => ({
  most: 6,
  lanes: 1,
  ports: true,
  keeper: "containerd-shim",
  start: async (name, port) => {
    const ports = port === undefined ? [] : ["-p", `${port}:80`];
    const options = ["--stop-timeout", "0", "--name", name, "--network", DOCKER_NETWORK, ...ports];
    const id = await docker("run", "-d", ...options, IMAGE, ...serving(name));
    const format = `{{(index .NetworkSettings.Networks "${DOCKER_NETWORK}").IPAddress}}`;
    return { addresses: [await docker("inspect", "-f", format, name)], id, page: name };
  },
  stop: async (name) => {
    try {
      await docker("rm", "-f", name);
    } catch (e) {
      if (!String(e).includes(`No such container: ${name}`)) throw e;
    }
  },
  namespace: (name) => docker("inspect", "-f", "{{.NetworkSettings.SandboxKey}}", name),
});

const podmanDriver = (podman: Podman): Driver => ({
  most: 5,
  lanes: 1,
  ports: true,
  keeper: "conmon",
  start: async (name, port) => {
    const ports = port === undefined ? [] : ["--publish", `${port}:80`];
    // The soak may not have the right to change limits.
    const options = ["--name", name, "--ulimit", "host", "--network", PODMAN_NETWORK, ...ports];
    const { stdout } = await podman("run", "--detach", ...options, IMAGE, ...serving(name));
    const format = `{{(index .NetworkSettings.Networks "${PODMAN_NETWORK}").IPAddress}}`;
    const shown = await podman("inspect", "--format", format, name);
    return { addresses: [shown.stdout.trim()], id: stdout.trim(), page: name };
  },
  stop: async (name) => {
    await podman("rm", "--force", "--ignore", "--time", "0", name);
  },
});
