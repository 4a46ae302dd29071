/** The host of a soak: one ground with containerd, Docker, Podman and a DHCP server, all on Heddle. */
import { join } from "node:path";
import type { HeddleBinary } from "../../src/testing/executable.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { type Containerd, containerdOn } from "../runtimes/containerd.ts";
import { type Docker, dockerOn } from "../runtimes/docker.ts";
import { type Ground, ground, type GroundProcess } from "../runtimes/ground.ts";
import { busyboxImage } from "../runtimes/image.ts";
import { type Podman, podmanOn } from "../runtimes/podman.ts";
import { rootTree } from "../runtimes/root-tree.ts";
import type { RuntimeName } from "./model.ts";

/** Everything of Debian 12 at once; undefined after printing why it cannot be had. */
export const soakTree = (): Promise<string | undefined> =>
  rootTree("soak", "bookworm", ["containerd", "runc", "docker.io", "podman", "crun", "dnsmasq-base"]);

/** A daemon that can be ended and started again. */
export interface Daemon {
  /** Whose operations may fail meanwhile. */
  readonly runtimes: readonly RuntimeName[];
  restart(signal: "SIGTERM" | "SIGKILL"): Promise<void>;
}

export interface Site extends AsyncDisposable {
  readonly on: Ground;
  readonly containerd: Containerd | undefined;
  readonly docker: Docker | undefined;
  readonly podman: Podman | undefined;
  readonly daemons: Readonly<Record<string, Daemon>>;
  /** What the plugin of Docker has printed, all that were started. */
  pluginLog(): readonly string[];
}

export const DOCKER_NETWORK = "dock";
export const PODMAN_NETWORK = "web";

/** A link of the host that containers hang on. */
export const UNDERLAY = { link: "under0", subnet: "10.93.0.0/24", address: "10.93.0.1/24" } as const;
const UNDERLAY_LINKS = [
  `link add ${UNDERLAY.link} type veth peer name under1`,
  `address add ${UNDERLAY.address} dev ${UNDERLAY.link}`,
  `link set ${UNDERLAY.link} up`,
  "link set under1 up",
  "",
].join("\n");

/** A ground with what these runtimes need, all running; bind it with `await using`. */
export async function soakSite(
  tree: string | undefined,
  heddle: HeddleBinary,
  runtimes: readonly RuntimeName[],
): Promise<Site> {
  await using made = new AsyncDisposableStack();
  const on = made.use(await ground(tree, heddle));
  on.write("/image.tar", busyboxImage(tree ?? ""));
  // The first namespace of `ip` makes the directory a mount, with which those that others have there cannot be removed.
  for (const verb of ["add", "delete"]) await on.exec(["ip", "netns", verb, "first"]);
  await on.exec(["ip", "-batch", "-"], { stdin: UNDERLAY_LINKS });
  const has = (name: RuntimeName): boolean => runtimes.includes(name);
  // Docker uses the host's containerd, as Debian's unit has it.
  const containerd =
    has("pods") || has("ctr") || has("docker") ? made.use(await containerdOn(on, "1.6")) : undefined;
  const docker = has("docker")
    ? await dockerOn(on, "--live-restore", "--containerd=/run/containerd/containerd.sock")
    : undefined;
  await docker?.docker(
    ...["network", "create", "-d", "heddle", "--ipam-driver", "heddle"],
    ...["--subnet", "10.77.0.0/24", DOCKER_NETWORK],
  );
  const podman = has("podman") ? await podmanOn(on) : undefined;
  await podman?.("network", "create", "--subnet", "10.99.0.0/24", PODMAN_NETWORK);
  const leases = has("dhcp") ? await dhcpOn(on) : undefined;
  const printed: string[] = [];
  const restartPlugin: Daemon["restart"] = async (signal) => {
    const before = docker?.log("plugin") ?? [];
    await docker?.restart("plugin", signal);
    printed.push(...before);
  };
  const kept = made.move();
  return {
    on,
    pluginLog: () => [...printed, ...(docker?.log("plugin") ?? [])],
    containerd,
    docker,
    podman,
    daemons: {
      ...(containerd === undefined
        ? {}
        : {
            containerd: {
              runtimes: ["pods", "ctr", "docker"],
              restart: (signal) => containerd.restart(signal),
            },
          }),
      ...(docker === undefined
        ? {}
        : {
            dockerd: { runtimes: ["docker"], restart: (signal) => docker.restart("docker", signal) },
            "docker-plugin": { runtimes: ["docker"], restart: restartPlugin },
          }),
      ...(leases === undefined ? {} : { "dhcp-daemon": { runtimes: ["dhcp"], restart: leases } }),
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

export const LAN = { bridge: "lan0", address: "10.91.0.1/24", range: "10.91.0.10,10.91.0.250" } as const;

/** A DHCP server on a bridge of the ground, and Heddle's daemon. Returns how to start the daemon again. */
async function dhcpOn(on: Ground): Promise<(signal: "SIGTERM" | "SIGKILL") => Promise<void>> {
  const lines = [
    `link add ${LAN.bridge} type bridge`,
    `address add ${LAN.address} dev ${LAN.bridge}`,
    `link set ${LAN.bridge} up`,
  ];
  await on.exec(["ip", "-batch", "-"], { stdin: `${lines.join("\n")}\n` });
  const server = await on.start([
    ...["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--pid-file=", "--user=root"],
    ...["--log-facility=-", `--interface=${LAN.bridge}`, "--bind-interfaces", "--dhcp-authoritative"],
    ...["--no-ping", "--dhcp-leasefile=/run/leases", `--dhcp-range=${LAN.range},255.255.255.0,120`],
  ]);
  await server.log.line((line) => line.includes("DHCP, IP range"), patience(20_000));
  let daemon: GroundProcess | undefined;
  const start = async (): Promise<void> => {
    daemon = await on.start([join("/opt/cni/bin", "heddle"), "dhcp-daemon"]);
    await daemon.log.line((line) => line.includes("listen"), patience(20_000));
  };
  await start();
  return async (signal) => {
    await daemon?.end(signal);
    await start();
  };
}
