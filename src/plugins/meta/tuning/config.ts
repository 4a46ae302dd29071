import {
  type Decode,
  dictionary,
  flag,
  integer,
  invalid,
  object,
  refined,
  text,
  withDefault,
} from "../../../cni/json.ts";
import type { NetConf } from "../../../cni/plugin.ts";
import type { Mac } from "../../../net/mac.ts";
import type { LinkAttributes } from "../../../netstate/model.ts";
import { linkMac, mtu } from "../../shared/config.ts";
import { sysctlPath } from "./sysctl-key.ts";

/** The keys of `tuning`, and what `args` and the runtime put in their place. */
export interface TuningConfig {
  readonly sysctls: readonly TunedSysctl[];
  /** Those of the link but the MAC address. */
  readonly attributes: Omit<LinkAttributes, "mac">;
  readonly mac: {
    /** Of the configuration. `MAC` of CNI_ARGS comes before it. */
    readonly configured?: Mac;
    /** Of `args` or, without that, of the runtime. It comes before all others. */
    readonly asked?: Mac;
  };
  /** Where the reference keeps the old values of links. */
  readonly dataDir: string;
}

export interface TunedSysctl {
  /** The key as it stands in the configuration: lists of what is allowed speak of that. */
  readonly written: string;
  /** Path below /proc/sys, in which `IFNAME` stands for the interface. */
  readonly path: string;
  readonly value: string;
}

const DATA_DIR = "/run/cni/tuning";

const sysctl: Decode<readonly TunedSysctl[]> = refined(dictionary(text), (values, at) => {
  const found: TunedSysctl[] = [];
  for (const [written, value] of Object.entries(values)) {
    const path = sysctlPath(written, at);
    const twin = found.find((s) => s.path === path);
    if (twin) invalid(at, `"${twin.written}" and "${written}" are the same parameter`);
    if (value.trim() === "") invalid(`${at}.${written}`, "must not be empty");
    found.push({ written, path, value });
  }
  return found;
});

const mac: Decode<Mac | undefined> = (value, at) => (value === "" ? undefined : linkMac(value, at));

const absolute: Decode<string> = (value, at) => {
  const path = text(value, at);
  return path === "" ? DATA_DIR : path.startsWith("/") ? path : invalid(at, `"${path}" must begin with "/"`);
};

const tunable = {
  sysctl,
  mac,
  promisc: flag,
  mtu,
  allmulti: flag,
  // What the kernel keeps (`tx_queue_len`, linux/netdevice.h).
  txQLen: integer({ min: 0, max: 0xffffffff }),
};

export const options = object({
  ...tunable,
  dataDir: withDefault(absolute, DATA_DIR),
  args: object({ cni: object(tunable) }),
  runtimeConfig: object({ mac }),
});

/** Throws `config/invalid` with the key. */
export function parseConfig(conf: NetConf): TuningConfig {
  const raw = options(conf.raw, "");
  const args = raw.args?.cni ?? {};
  const { promisc, mtu: mtuBytes, allmulti, txQLen } = { ...raw, ...args };
  const asked = args.mac ?? raw.runtimeConfig?.mac;
  const overridden = new Set((args.sysctl ?? []).map((s) => s.path));
  return {
    sysctls: [...(raw.sysctl ?? []).filter((s) => !overridden.has(s.path)), ...(args.sysctl ?? [])],
    attributes: {
      ...(mtuBytes ? { mtuBytes } : {}),
      // False is what absent is: the mode that others chose stays.
      ...(promisc ? { promiscuous: true } : {}),
      ...(allmulti === undefined ? {} : { allMulticast: allmulti }),
      ...(txQLen === undefined ? {} : { txQueueLength: txQLen }),
    },
    mac: { ...(raw.mac ? { configured: raw.mac } : {}), ...(asked ? { asked } : {}) },
    dataDir: raw.dataDir,
  };
}

const removal = object({ dataDir: withDefault(absolute, DATA_DIR) });

/** What is put back is in the record; only the place of the reference's files is read. */
export function parseForRemoval(conf: NetConf): TuningConfig {
  let dataDir = DATA_DIR;
  try {
    ({ dataDir } = removal(conf.raw, ""));
  } catch {
    // The reference has no files in a place that is none.
  }
  return { sysctls: [], attributes: {}, mac: {}, dataDir };
}
