/**
 * What a lab's suites must know of each way between hosts: a row for a backend. What its kernel must have for it decides where
 * it is tried: on this machine, or in the virtual machine.
 */
import type { KernelFeature } from "../../src/testing/features.ts";

export interface Backend {
  readonly name: string;
  /** As `--backend` takes it, where the name does not say everything. */
  readonly whole?: object;
  readonly needs: readonly KernelFeature[];
  /** The underlays it is tried on, as `--ip` takes them, and what it takes there of a packet, in bytes. */
  readonly overheadBytes: { readonly 4: number; readonly 6?: number; readonly dual?: number };
  /** False: packets between hosts are somebody else's affair. */
  readonly joinsHosts: boolean;
  /** False: what the kernel forgets, as with a cable that is pulled, is not put back. */
  readonly repairs?: false;
}

/** As `--backend` takes it. */
export const choiceOf = ({ name, whole }: Backend): string =>
  whole === undefined ? name : JSON.stringify({ Type: name, ...whole });

export const backends: readonly Backend[] = [
  { name: "vxlan", needs: ["vxlan"], overheadBytes: { 4: 50, 6: 70, dual: 70 }, joinsHosts: true },
  { name: "host-gw", needs: [], overheadBytes: { 4: 0, 6: 0, dual: 0 }, joinsHosts: true },
  { name: "udp", needs: ["tun"], overheadBytes: { 4: 28, 6: 48, dual: 28 }, joinsHosts: true },
  { name: "ipip", needs: ["ipip"], overheadBytes: { 4: 20 }, joinsHosts: true },
  {
    name: "wireguard",
    needs: ["wireguard"],
    overheadBytes: { 4: 80, 6: 80, dual: 80 },
    joinsHosts: true,
  },
  {
    name: "extension",
    // The commands of Flannel's manual; they know of IPv4 only.
    whole: {
      SubnetAddCommand: "ip route add $SUBNET via $PUBLIC_IP",
      SubnetRemoveCommand: "ip route del $SUBNET",
    },
    needs: [],
    overheadBytes: { 4: 0 },
    joinsHosts: true,
    repairs: false,
  },
  { name: "alloc", needs: [], overheadBytes: { 4: 0, 6: 0, dual: 0 }, joinsHosts: false },
];

export type IpChoice = keyof Backend["overheadBytes"];

/** The underlays that a backend is tried on; the last one has the most. */
export const underlaysOf = ({ overheadBytes }: Backend): readonly IpChoice[] =>
  ([4, 6, "dual"] as const).filter((ip) => overheadBytes[ip] !== undefined);
