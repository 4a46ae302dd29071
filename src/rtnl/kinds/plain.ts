import type { LinkKind } from "./link-kind.ts";

/**
 * Kinds without parameters: `dummy` swallows what is sent to it, `ifb` hands what is redirected to it back after its
 * queue, and what `wireguard` is told goes by generic netlink.
 */
export interface Plain {
  readonly kind: "dummy" | "ifb" | "wireguard";
}

export const plainKind = (kind: Plain["kind"]): LinkKind<Plain> => ({
  encode: () => new Uint8Array(0),
  decode: () => ({ kind }),
});
