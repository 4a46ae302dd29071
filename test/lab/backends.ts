/**
 * What a lab's suites must know of each way between hosts: a row for a backend. What its kernel must have for it decides where
 * it is tried: on this machine, or in the virtual machine.
 */
import type { KernelFeature } from "../../src/testing/features.ts";

export interface Backend {
  /** As `--backend` takes it. */
  readonly name: string;
  readonly needs: readonly KernelFeature[];
  /** The underlays it is tried on, as `--ip` takes them, and what it takes there of a packet, in bytes. */
  readonly overheadBytes: { readonly 4: number; readonly 6?: number; readonly dual?: number };
  /** False: packets between hosts are somebody else's affair. */
  readonly joinsHosts: boolean;
}

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
  { name: "alloc", needs: [], overheadBytes: { 4: 0, 6: 0, dual: 0 }, joinsHosts: false },
];

export type IpChoice = keyof Backend["overheadBytes"];

/** The underlays that a backend is tried on; the last one has the most. */
export const underlaysOf = ({ overheadBytes }: Backend): readonly IpChoice[] =>
  ([4, 6, "dual"] as const).filter((ip) => overheadBytes[ip] !== undefined);
