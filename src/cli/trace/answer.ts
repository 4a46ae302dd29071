/**
 * What `heddle trace` answers, as `--json` prints it and `draw.ts` tells it to people. Names and meanings of the keys stay;
 * more may come.
 */
export type Protocol = "tcp" | "udp" | "icmp";

export interface Answer {
  readonly outcome: Outcome;
  /** Which packet it is about: the first one, the answer to it, or (of TCP) the one after that. */
  readonly packet: Phase;
  /** Of `dropped`: by what. Of `cannot tell`: because of what. Of `passes`: where it ends. */
  readonly by: string;
  /** Where that is; null if it is nowhere in particular. */
  readonly where: string | null;
  readonly from: { readonly key: string; readonly netns: string; readonly address: string | null };
  readonly to: { readonly address: string; readonly port: number | null; readonly protocol: Protocol };
  /** Whether somebody listens where it ends; null where that is not seen, or is no question. */
  readonly listening: boolean | null;
  /** `leaves`: beyond the last link nothing is seen. */
  readonly ends: "delivered" | "leaves" | null;
  readonly steps: readonly Step[];
  /** Connections that are tracked already between the two; a packet of one of them goes where it went before. */
  readonly existing: readonly string[];
}
export type Outcome = "passes" | "dropped" | "cannot tell";
export type Phase = "first" | "answer" | "next";

/** One thing that the packet meets. */
export interface Step {
  readonly packet: Phase;
  /** The namespace, by what people call it. */
  readonly place: string;
  readonly kind: StepKind;
  readonly text: string;
}
export type StepKind = "start" | "route" | "link" | "bridge" | "neighbour" | "filter" | "translation" | "end";
