/** What a trace has in hand while a packet is on its way, and how a way through links ends. */
import type { Link } from "../../rtnl/link.ts";
import type { Phase, Step, StepKind } from "./answer.ts";
import type { Connections, Note, Obstacle, Passage, Skb } from "./hooks.ts";
import type { Place, Realm, Space } from "./realm.ts";

export interface Journey {
  readonly realm: Realm;
  readonly connections: Connections;
  /** Ports of bridges by the hardware addresses that the questions for neighbours have just shown behind them. */
  readonly learned: Map<string, number>;
  /** Everything that was met. */
  readonly steps: Step[];
  /** What perhaps stops the packet. */
  readonly doubts: (Obstacle & { readonly packet: Phase })[];
  phase: Phase;
}

export const tell = (j: Journey, space: Space, kind: StepKind, text: string): void =>
  void j.steps.push({ packet: j.phase, place: space.name, kind, text });

export const tellAll = (j: Journey, notes: readonly PlacedNote[]): void => {
  for (const n of notes) j.steps.push({ packet: j.phase, place: n.place, kind: n.kind, text: n.text });
};
export interface PlacedNote extends Note {
  readonly place: string;
}

/** How a packet's way ends. */
export type End =
  | { readonly kind: "delivered"; readonly space: Space; readonly link: Link; readonly skb: Skb }
  /** Behind this link nothing is seen. */
  | {
      readonly kind: "leaves";
      readonly space: Space;
      readonly link: Link;
      readonly skb: Skb;
      readonly text: string;
      readonly vlan?: number;
    }
  | { readonly kind: "dropped"; readonly by: string; readonly where: string }
  | { readonly kind: "unclear"; readonly because: string; readonly where: string };

/** A frame on its way over links. */
export interface Path {
  readonly skb: Skb;
  readonly notes: readonly PlacedNote[];
  readonly obstacles: readonly Obstacle[];
  readonly vlan?: number;
  /** Ports of bridges by which it came in: `bridge port`, for what the bridges learn. */
  readonly entered: readonly { readonly bridge: string; readonly port: number }[];
  /** Nobody knows what the frame is from here on: nothing behind is certain. */
  readonly blind?: true;
  /** Links that it went over. */
  readonly hops: number;
}

/** Where a frame arrives. */
export interface Arrival extends Place {
  /** `stack`: at the network layer of the link. `beyond`: at what is not seen. `lost`: nowhere. */
  readonly kind: "stack" | "beyond" | "lost";
  readonly path: Path;
  /** Of `beyond`: what there is. */
  readonly text?: string;
  /** The hooks for what comes in were passed on the bridge already. */
  readonly prerouted?: true;
}

export const pathOf = (skb: Skb): Path => ({ skb, notes: [], obstacles: [], entered: [], hops: 0 });

export const noted = (path: Path, space: Space, kind: StepKind, text: string): Path => ({
  ...path,
  notes: [...path.notes, { place: space.name, kind, text }],
});
export const hindered = (path: Path, space: Space, text: string, sure = true): Path => ({
  ...path,
  obstacles: [...path.obstacles, { sure: sure && path.blind !== true, text, where: space.name }],
});

/** Behind a hook. */
export const withPassage = (path: Path, space: Space, { skb, notes, obstacles }: Passage): Path => ({
  ...path,
  notes: [...path.notes, ...notes.map((n) => ({ ...n, place: space.name }))],
  obstacles: [...path.obstacles, ...obstacles.map((o) => ({ ...o, sure: o.sure && path.blind !== true }))],
  ...(skb === undefined ? { blind: true } : { skb }),
});
