/** Clusters for tests and the benchmark: nodes from a few words, or thousands by number. */
import type { BackendData, FabricNode, Publics, Subnets } from "../fabric/model.ts";
import type { HostFacts } from "../fabric/transport/transport.ts";
import { localMac, type Mac } from "../net/mac.ts";
import { cidr, ip } from "./address.ts";

interface Words {
  readonly v4?: string;
  readonly v6?: string;
  readonly at4?: string;
  readonly at6?: string;
  readonly backend?: BackendData;
}

export const subnets = ({ v4, v6 }: Pick<Words, "v4" | "v6">): Subnets => ({
  ...(v4 === undefined ? {} : { v4: cidr(v4) }),
  ...(v6 === undefined ? {} : { v6: cidr(v6) }),
});
export const publics = ({ at4, at6 }: Pick<Words, "at4" | "at6">): Publics => ({
  ...(at4 === undefined ? {} : { v4: ip(at4) }),
  ...(at6 === undefined ? {} : { v6: ip(at6) }),
});

export const macOf = (n: number, family: 4 | 6 = 4): Mac =>
  localMac(Uint8Array.of(2, family, n >>> 24, n >>> 16, n >>> 8, n));

export const fabricNode = (id: string, words: Words): FabricNode => ({
  id,
  subnets: subnets(words),
  publics: publics(words),
  backend: words.backend ?? { type: "host-gw" },
});

/** What a node of a vxlan announces. */
export const vxlanData = (n: number, families: readonly (4 | 6)[] = [4]): BackendData => ({
  type: "vxlan",
  ...(families.includes(4) ? { v4: { VNI: 1, VtepMAC: macOf(n) } } : {}),
  ...(families.includes(6) ? { v6: { VNI: 1, VtepMAC: macOf(n, 6) } } : {}),
});

/** The network that `numbered` nodes are in: 10.128.0.0/10 in subnets of /24, fd00:10::/40 in /64. */
export const numberedNetwork: Subnets = subnets({ v4: "10.128.0.0/10", v6: "fd00:10::/40" });

/** Node number 1 to 16383, by vxlan, IPv4 or dual stack. */
export function numbered(n: number, families: readonly (4 | 6)[] = [4]): FabricNode {
  const [high, low] = [n >> 8, n & 255];
  return fabricNode(`10.${128 + high}.${low}.0-24`, {
    v4: `10.${128 + high}.${low}.0/24`,
    at4: `192.168.${high}.${low}`,
    ...(families.includes(6)
      ? { v6: `fd00:10:0:${n.toString(16)}::/64`, at6: `2001:db8::${n.toString(16)}` }
      : {}),
    backend: vxlanData(n, families),
  });
}

export const hostFacts = (
  words: Pick<Words, "at4" | "at6"> & { readonly name?: string; readonly mtuBytes?: number },
  isDirect: HostFacts["isDirect"] = () => false,
): HostFacts => ({
  external: { name: words.name ?? "eth0", mtuBytes: words.mtuBytes ?? 1500 },
  local: publics(words),
  isDirect,
});
