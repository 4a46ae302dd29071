import type { Backend, Mark } from "./model.ts";

/**
 * A rule of an attachment as the kernel has it, for people: found by the attachment's mark, with the rules by which packets
 * come to it.
 */
export interface SeenRule {
  readonly backend: Backend;
  readonly mark: Mark;
  /** `inet heddle, ports4`, or `ip nat CNI-0123`. */
  readonly where: string;
  readonly text: string;
  /** The ways of packets to it, each from its hook on; none: it does nothing. */
  readonly via: readonly string[];
  /** The rules of the chain that it leads to, if that is shared by others. */
  readonly leadsTo: readonly string[];
  /** The host port that it maps. */
  readonly port?: SeenPort;
}

export interface SeenPort {
  readonly protocol: string;
  /** Absent: every address of the host. */
  readonly hostIp?: string;
  readonly hostPort: number;
  readonly containerPort: number;
}
