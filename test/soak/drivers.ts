/** How each runtime starts and stops a container, and how many it has at once. */
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
    lists: listsDriver(on, listsOf.lists, { most: 20, lanes: 2 }, roll, took),
    dhcp: listsDriver(on, listsOf.dhcp, { most: 6, lanes: 1 }, roll, took),
    pods: containerd && podsDriver(containerd),
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

const dockerDriver = ({ docker }: Docker): Driver => ({
  most: 6,
  lanes: 1,
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
