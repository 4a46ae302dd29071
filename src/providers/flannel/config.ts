import {
  type Decode,
  flag,
  foldKeys,
  integer,
  invalid,
  isObject,
  type JsonObject,
  object,
  parsed,
  parseJson,
  text,
  withDefault,
  withoutKeys,
} from "../../cni/json.ts";
import { NetError } from "../../errors.ts";
import {
  addToIp,
  compareIp,
  contains,
  type Family,
  type Ip,
  type IpPrefix,
  isUnspecified,
  lastIp,
  network,
  parseIp,
  parsePrefix,
  prefix,
} from "../../net/ip.ts";

/**
 * The configuration of a Flannel network, as it stands in the store under `config` or in `net-conf.json`. Keys are read in
 * any case and defaults are those of flanneld's code, so that both kinds of nodes read the same from one document. Ranges
 * are checked whichever store it comes from; flanneld checks them with etcd alone.
 */
export interface NetworkConfig {
  readonly enableIpv4: boolean;
  readonly enableIpv6: boolean;
  /** Masquerade and forwarding rules are nftables', not iptables'. */
  readonly nftables: boolean;
  /** There if and only if the family is enabled. */
  readonly v4?: AddressPlan;
  readonly v6?: AddressPlan;
  readonly backend: BackendConfig;
}

/** Out of which addresses hosts get their subnets. */
export interface AddressPlan {
  /** Host bits are clear. */
  readonly network: IpPrefix;
  /** Length in bits of the subnet of one host. */
  readonly subnetLen: number;
  /** Base addresses of the first and the last subnet that may be given; both are aligned to `subnetLen`. */
  readonly min: Ip;
  readonly max: Ip;
}

export interface BackendConfig {
  /** In lower case. */
  readonly type: string;
  /** The other keys of `Backend`, in the spelling of the document; the transport reads them, in any case. */
  readonly options: JsonObject;
}

/**
 * The backend of a document that names none. Flannel's manual says `vxlan`; its code does `udp`, and what the nodes of one
 * network do must agree.
 */
const BACKEND_WHEN_ABSENT = "udp";

const ofFamily = (family: Family): { ip: Decode<Ip>; net: Decode<IpPrefix> } => {
  const fits = <T>(value: T, has: Family, at: string): T =>
    has === family ? value : invalid(at, `is of IPv${has}; this key is for IPv${family}`);
  const anyIp = parsed(parseIp);
  const anyPrefix = parsed(parsePrefix);
  return {
    ip: (value, at) => {
      const ip = anyIp(value, at);
      return fits(ip, ip.family, at);
    },
    net: (value, at) => {
      const net = anyPrefix(value, at);
      return network(fits(net, net.ip.family, at));
    },
  };
};
const four = ofFamily(4);
const six = ofFamily(6);
const length = integer({ min: 0, max: 128 });

const backend: Decode<BackendConfig> = (value, at) => {
  if (!isObject(value)) return invalid(at, 'must be an object, as {"Type": "vxlan"}');
  const { Type } = foldKeys(value, ["Type"]);
  const type = Type === undefined ? "" : text(Type, `${at}.Type`).toLowerCase();
  if (type === "") invalid(`${at}.Type`, 'is missing: name the backend, as "vxlan"');
  return { type, options: withoutKeys(value, ["Type"]) };
};

const document = object({
  EnableIPv4: withDefault(flag, true),
  EnableIPv6: withDefault(flag, false),
  EnableNFTables: withDefault(flag, false),
  Network: four.net,
  SubnetLen: length,
  SubnetMin: four.ip,
  SubnetMax: four.ip,
  IPv6Network: six.net,
  IPv6SubnetLen: length,
  IPv6SubnetMin: six.ip,
  IPv6SubnetMax: six.ip,
  Backend: withDefault(backend, { type: BACKEND_WHEN_ABSENT, options: {} }),
});

/**
 * Reads the document.
 * @throws config/invalid, naming the key and what it should be
 */
export function parseNetworkConfig(source: string): NetworkConfig {
  const doc = document(jsonOf(source), "");
  const { EnableIPv4: enableIpv4, EnableIPv6: enableIpv6 } = doc;
  if (!enableIpv4 && !enableIpv6)
    invalid("EnableIPv4", "and EnableIPv6 are both false: a network needs one of the two");
  const v4 = {
    network: doc.Network,
    subnetLen: doc.SubnetLen,
    min: doc.SubnetMin,
    max: doc.SubnetMax,
    words: { prefix: "", example: "10.244.0.0/16", perHost: 24 },
  };
  const v6 = {
    network: doc.IPv6Network,
    subnetLen: doc.IPv6SubnetLen,
    min: doc.IPv6SubnetMin,
    max: doc.IPv6SubnetMax,
    words: { prefix: "IPv6", example: "fd00:10:244::/56", perHost: 64 },
  };
  return {
    enableIpv4,
    enableIpv6,
    nftables: doc.EnableNFTables,
    ...(enableIpv4 ? { v4: addressPlan(v4) } : {}),
    ...(enableIpv6 ? { v6: addressPlan(v6) } : {}),
    backend: doc.Backend,
  };
}

function jsonOf(source: string): unknown {
  try {
    return parseJson(source, "the network configuration");
  } catch (e) {
    if (!(e instanceof NetError && e.is("decode/malformed"))) throw e;
    throw new NetError("config/invalid", { field: e.detail.what, why: e.detail.why }, { cause: e });
  }
}

interface Written {
  readonly network: IpPrefix | undefined;
  readonly subnetLen: number | undefined;
  readonly min: Ip | undefined;
  readonly max: Ip | undefined;
  /** How the keys of the family begin, a network as an example, and the usual length of a host's subnet. */
  readonly words: { readonly prefix: string; readonly example: string; readonly perHost: number };
}

function addressPlan(written: Written): AddressPlan {
  const { words } = written;
  const key = `${words.prefix}Network`;
  const net = written.network ?? invalid(key, `is missing: give the whole network, as "${words.example}"`);
  if (net.bits === 0) invalid(key, `${net.text} is every address: give the network's own prefix`);
  const subnetLen = lengthOf(written, net);
  const width = net.ip.family === 4 ? 32 : 128;
  const size = 1n << BigInt(width - subnetLen);
  const min = boundary(written.min, net, subnetLen, `${words.prefix}SubnetMin`);
  const max = boundary(written.max, net, subnetLen, `${words.prefix}SubnetMax`);
  const plan = {
    network: net,
    subnetLen,
    // The base address of the first subnet would be that of the network.
    min: min ?? addToIp(net.ip, size),
    max: max ?? addToIp(lastIp(net), 1n - size),
  };
  if (compareIp(plan.min, plan.max) > 0)
    invalid(`${words.prefix}SubnetMin`, `${plan.min.text} is behind the last subnet, ${plan.max.text}`);
  return plan;
}

/** A host needs a device and a bridge in its subnet, and the first of at least four subnets is not used. */
function lengthOf({ subnetLen, words }: Written, net: IpPrefix): number {
  const longest = net.ip.family === 4 ? 30 : 126;
  const key = `${words.prefix}SubnetLen`;
  if (subnetLen === undefined || subnetLen === 0) {
    if (net.bits > longest - 2)
      invalid(
        `${words.prefix}Network`,
        `${net.text} is too small: a network has room for four hosts from /${longest - 2} on`,
      );
    return net.bits <= words.perHost - 2 ? words.perHost : net.bits + 2;
  }
  if (subnetLen > longest) invalid(key, `${subnetLen} is too long: the longest is ${longest}`);
  if (subnetLen < net.bits + 2)
    invalid(
      key,
      `${subnetLen} leaves room for less than four hosts in ${net.text}: the shortest is ${net.bits + 2}`,
    );
  return subnetLen;
}

/** All zeros are the same as absent. */
function boundary(ip: Ip | undefined, net: IpPrefix, subnetLen: number, at: string): Ip | undefined {
  if (ip === undefined || isUnspecified(ip)) return undefined;
  if (!contains(net, ip)) invalid(at, `${ip.text} is not in the network ${net.text}`);
  const base = network(prefix(ip, subnetLen)).ip;
  if (base.text !== ip.text)
    invalid(
      at,
      `${ip.text} is not the beginning of a /${subnetLen}: the one that it is in begins at ${base.text}`,
    );
  return ip;
}
