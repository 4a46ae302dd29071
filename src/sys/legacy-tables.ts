/**
 * The tables of iptables' older kind, which no netlink message shows: read by the socket options that its own programs use
 * (linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h). Only whether a chain of the kernel has rules, and
 * what becomes of the packets that are left.
 */
import { Fd } from "./fd.ts";
import { readText, unlessErrno } from "./files.ts";
import { call } from "./libc.ts";

const AF = { 4: 2, 6: 10 } as const;
const SOL = { 4: 0, 6: 41 } as const;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const IPPROTO_RAW = 255;
/** IPT_SO_GET_INFO and _ENTRIES, the same numbers for IPv6. */
const GET_INFO = 64;
const GET_ENTRIES = 65;
const NAME_BYTES = 32;
/** struct ipt_getinfo: the name, which hooks, where the chain of each begins and where its policy stands, two sizes. */
const INFO_BYTES = 84;
/** struct ipt_get_entries: name and size, then the entries, aligned to eight bytes. */
const ENTRIES_AT = 40;
/** Where an entry says how far its target is (struct ipt_entry, ip6t_entry). */
const TARGET_OFFSET_AT = { 4: 88, 6: 140 } as const;
/** The verdict of a standard target, behind its header. */
const VERDICT_AT = 32;
/** `-NF_DROP - 1`. */
const DROP = -1;

/** NF_INET_*: the order of hooks in every table. */
const hooks = ["prerouting", "input", "forward", "output", "postrouting"] as const;
export type LegacyHook = (typeof hooks)[number];

export interface LegacyChain {
  readonly table: string;
  readonly hook: LegacyHook;
  readonly hasRules: boolean;
  readonly policy: "accept" | "drop";
}

/** The chains of every loaded table, in the namespace that this thread is in; undefined if they cannot be seen. */
export function listLegacyChains(family: 4 | 6): readonly LegacyChain[] | undefined {
  const file = `/proc/net/ip${family === 4 ? "" : "6"}_tables_names`;
  const names = unlessErrno(["ENOENT"], () => readText(file)) ?? "";
  return names
    .split("\n")
    .filter((name) => name !== "")
    .flatMap((name) => chainsOf(family, name));
}

function chainsOf(family: 4 | 6, table: string): readonly LegacyChain[] {
  using socket = new Fd(
    call("socket", "raw", (libc) => libc.socket(AF[family], SOCK_RAW_CLOEXEC, IPPROTO_RAW)),
  );
  const ask = (option: number, buffer: Uint8Array): DataView => {
    buffer.set(new TextEncoder().encode(table).subarray(0, NAME_BYTES - 1));
    const size = new Uint32Array(new ArrayBuffer(4)).fill(buffer.length);
    call("getsockopt", `table ${table}`, (libc) =>
      libc.getsockopt(socket.raw, SOL[family], option, buffer, size),
    );
    return new DataView(buffer.buffer);
  };
  const info = ask(GET_INFO, new Uint8Array(new ArrayBuffer(INFO_BYTES)));
  const size = info.getUint32(INFO_BYTES - 4, true);
  const whole = new Uint8Array(new ArrayBuffer(ENTRIES_AT + size));
  new DataView(whole.buffer).setUint32(NAME_BYTES, size, true);
  const entries = ask(GET_ENTRIES, whole);
  const valid = info.getUint32(NAME_BYTES, true);
  return hooks.flatMap((hook, i) => {
    if (((valid >> i) & 1) === 0) return [];
    const begin = info.getUint32(NAME_BYTES + 4 + i * 4, true);
    const policyAt = info.getUint32(NAME_BYTES + 24 + i * 4, true);
    const target =
      ENTRIES_AT + policyAt + entries.getUint16(ENTRIES_AT + policyAt + TARGET_OFFSET_AT[family], true);
    const verdict = entries.getInt32(target + VERDICT_AT, true);
    return [
      { table, hook, hasRules: begin !== policyAt, policy: verdict === DROP ? "drop" : "accept" } as const,
    ];
  });
}
