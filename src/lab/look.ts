/**
 * What a lab is at this moment, read from the kernel and from its files: what `status` draws, and where `ping` gets its
 * addresses from. Sockets are opened inside of the namespaces; this process stays where it is.
 */
import { existsSync } from "node:fs";
import type { Family } from "../net/ip.ts";
import { type NetlinkSocket, openNetlink } from "../netlink/socket.ts";
import { listAddresses } from "../rtnl/address.ts";
import { findLink, listLinks } from "../rtnl/link.ts";
import { inNetns, tryOpenNetns } from "../sys/netns.ts";
import { listContainers } from "./attach.ts";
import type { Fault, LabSpec, LabState } from "./model.ts";
import { labPaths } from "./paths.ts";
import { listProcesses } from "./processes.ts";
import { planUnderlay, ROUTER, UPLINK } from "./underlay.ts";

export interface SeenLab {
  readonly spec: LabSpec;
  readonly faults: readonly Fault[];
  readonly subnets: readonly { readonly bridge: string; readonly addresses: readonly string[] }[];
  /** Addresses beyond the router. */
  readonly outside: readonly string[];
  /** Programs that the lab has started in the router: a store, for example. */
  readonly routerPrograms: readonly SeenProgram[];
  readonly hosts: readonly SeenHost[];
}
export interface SeenHost {
  readonly name: string;
  /** The bridge that its cable leads to. */
  readonly bridge: string;
  readonly uplink: {
    readonly name: string;
    /** With prefix lengths; without link-local ones. */
    readonly addresses: readonly string[];
    readonly mtuBytes: number;
    /** `cut`: the cable is pulled. `gone`: the host has no such link any more. */
    readonly state: "up" | "down" | "cut" | "gone";
  };
  readonly containers: readonly SeenContainer[];
  readonly programs: readonly SeenProgram[];
}
export interface SeenContainer {
  readonly name: string;
  readonly network: string;
  readonly addresses: readonly string[];
  /** False: its namespace is gone, or was never made. */
  readonly there: boolean;
}
export interface SeenProgram {
  readonly name: string;
  readonly pid: number;
  readonly state: "running" | "stopped" | "ended";
}

/** A route socket in the namespace at this path; undefined if there is none. */
function openRoute(path: string): NetlinkSocket | undefined {
  using netns = existsSync(path) ? tryOpenNetns(path) : undefined;
  return netns && inNetns(netns, () => openNetlink("route"));
}

export function lookAtLab(state: LabState): SeenLab {
  const { spec, faults } = state;
  const paths = labPaths(spec.name);
  const underlay = planUnderlay(state);
  using router = openRoute(paths.host(ROUTER).net);
  const cut = (port: string): boolean =>
    router !== undefined && findLink(router, { name: port })?.up !== true;
  return {
    spec,
    faults,
    subnets: underlay.subnets.map(({ bridge, router: own }) => ({
      bridge,
      addresses: own.map((p) => p.text),
    })),
    outside: underlay.outside.map((ip) => ip.text),
    routerPrograms: lookAtPrograms(spec.name, ROUTER),
    hosts: underlay.hosts.map(({ name, port, subnet }) => ({
      name,
      bridge: subnet.bridge,
      uplink: lookAtUplink(paths.host(name).net, cut(port)),
      containers: listContainers(spec.name, name).map((container) => ({
        ...container,
        ...lookAtContainer(`${paths.host(name).netns}/${container.name}`),
      })),
      programs: lookAtPrograms(spec.name, name),
    })),
  };
}

const lookAtPrograms = (lab: string, host: string): readonly SeenProgram[] =>
  listProcesses(lab, host).map(({ name, id, state }) => ({ name, pid: id.pid, state: state ?? "ended" }));

function lookAtUplink(path: string, cut: boolean): SeenHost["uplink"] {
  using socket = openRoute(path);
  const link = socket && findLink(socket, { name: UPLINK });
  if (socket === undefined || link === undefined)
    return { name: UPLINK, addresses: [], mtuBytes: 0, state: "gone" };
  return {
    name: UPLINK,
    addresses: globalAddresses(socket, link.index),
    mtuBytes: link.mtuBytes,
    state: cut ? "cut" : link.up ? "up" : "down",
  };
}

function lookAtContainer(path: string): Pick<SeenContainer, "addresses" | "there"> {
  using socket = openRoute(path);
  if (socket === undefined) return { addresses: [], there: false };
  const links = listLinks(socket).filter((link) => !link.loopback);
  return { addresses: links.flatMap(({ index }) => globalAddresses(socket, index)), there: true };
}

const globalAddresses = (socket: NetlinkSocket, index: number): readonly string[] =>
  listAddresses(socket, index)
    .filter((a) => !a.linkLocal)
    .map((a) => a.prefix.text);

/** The address of that family that comes first, without its prefix length. */
export const addressIn = (addresses: readonly string[], family: Family): string | undefined =>
  addresses.find((text) => text.includes(":") === (family === 6))?.split("/", 1)[0];
