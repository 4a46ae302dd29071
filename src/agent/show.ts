/** Subnets and addresses of a host as text, one form for keys and for people. */
import type { Publics, Subnets } from "../fabric/model.ts";

/** `10.1.2.0/24`, or `10.1.2.0/24 and fd00::/64`. */
export const showSubnets = ({ v4, v6 }: Subnets): string =>
  [v4, v6].flatMap((p) => (p === undefined ? [] : [p.text])).join(" and ");

/** `192.0.2.1`, or `192.0.2.1 and fd00::1`. */
export const showPublics = ({ v4, v6 }: Publics): string =>
  [v4, v6].flatMap((ip) => (ip === undefined ? [] : [ip.text])).join(" and ");

export const sameSubnets = (a: Subnets, b: Subnets): boolean => showSubnets(a) === showSubnets(b);
