import type { Ip, IpPrefix } from "../net/ip.ts";

/**
 * A result in memory: always the shape of the newest version, parsed. Text of any version is read and written at
 * the edges alone (`result-codec.ts`).
 */
export interface Result {
  readonly interfaces: readonly ResultInterface[];
  readonly ips: readonly ResultIp[];
  readonly routes: readonly ResultRoute[];
  readonly dns: Dns;
}
export interface ResultInterface {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  /** Path of the network namespace; absent for an interface of the host. */
  readonly sandbox?: string;
  readonly socketPath?: string;
  readonly pciID?: string;
}
export interface ResultIp {
  readonly address: IpPrefix;
  readonly gateway?: Ip;
  /** Index into `interfaces`; absent if unknown, as in an IPAM plugin's result. */
  readonly interface?: number;
}
export interface ResultRoute {
  readonly dst: IpPrefix;
  readonly gw?: Ip;
  readonly mtu?: number;
  readonly advmss?: number;
  readonly priority?: number;
  readonly table?: number;
  /** 0 global, 253 link, 254 host (linux/rtnetlink.h). */
  readonly scope?: number;
}
export interface Dns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

export const emptyResult: Result = { interfaces: [], ips: [], routes: [], dns: {} };
