/** Subnets without a data path: somebody else carries the packets. Flannel's `alloc`. */
import { nothing } from "../host-state.ts";
import type { Transport } from "./transport.ts";

export const allocTransport: Transport = {
  type: "alloc",
  families: [4, 6],
  publics: "shared",
  mtuBytes: ({ external }) => external.mtuBytes,
  announce: () => ({ type: "alloc" }),
  desired: () => ({ state: nothing, troubles: [] }),
};
