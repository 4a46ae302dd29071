/** Subnets without a data path: somebody else carries the packets. Flannel's `alloc`, whose leases name no backend. */
import { nothing } from "../host-state.ts";
import type { Transport } from "./transport.ts";

export const allocTransport: Transport = {
  type: "alloc",
  families: [4, 6],
  publics: "shared",
  mtuBytes: ({ external }) => external.mtuBytes,
  announce: () => ({ type: "" }),
  desired: () => ({ state: nothing, troubles: [] }),
};
