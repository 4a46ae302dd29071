/**
 * A store in etcd, version 3, over the JSON gateway that its members serve beside gRPC. Keys, values, leases and
 * transactions are those of every other client: flanneld's, or a person's with etcdctl.
 */
import { NetError } from "../../errors.ts";
import {
  encode,
  keyAfter,
  leaseOf,
  numberOf,
  outcomeOf,
  pageOf,
  type Page,
  rangeOf,
  revisionOf,
} from "./etcd-codec.ts";
import { CODE, Gateway, type Kind, Refusal, TooLarge } from "./etcd-gateway.ts";
import { type EtcdUser, Session } from "./etcd-session.ts";
import { type TlsFiles, tlsReader } from "./etcd-tls.ts";
import { watchKeys } from "./etcd-watch.ts";
import {
  type Change,
  type Condition,
  type Entry,
  type Kv,
  LIST_LIMIT,
  type Listing,
  type PutOptions,
  requireLeaseTime,
  requireWritable,
  type Revision,
  type WatchOptions,
} from "./kv.ts";
import type { Members } from "./shape.ts";

export interface EtcdOptions {
  /** The members' addresses, as `https://10.0.0.1:2379`; one is enough, with several one may fail. */
  readonly endpoints: readonly string[];
  /** For addresses that begin with https. */
  readonly tls?: TlsFiles;
  readonly user?: EtcdUser;
  /** How long one member is waited for, in milliseconds; 5,000 unless told. */
  readonly requestMs?: number;
  /** Most keys that are asked for at a time; 500 unless told. */
  readonly pageKeys?: number;
  /** After how long a silence a watch asks whether the member is still there, in milliseconds; 15,000 unless told. */
  readonly quietMs?: number;
}

/**
 * Nothing is asked before the first call.
 * @throws config/invalid if an address or a file is not what it should be
 */
export const openEtcd = (options: EtcdOptions): Kv => new EtcdStore(options);

/** How often a list begins anew because the store forgot its moment between two pages. */
const LIST_TRIES = 3;

class EtcdStore implements Kv {
  readonly name: string;
  private readonly gateway: Gateway;
  private readonly session: Session;
  private readonly pageKeys: number;
  private readonly quietMs: number;

  constructor(options: EtcdOptions) {
    const { endpoints, tls, user, requestMs = 5000 } = options;
    const read = tls && tlsReader(tls);
    read?.();
    this.gateway = new Gateway({ endpoints, requestMs, ...(read && { tls: read }) });
    this.session = new Session(this.gateway, user);
    this.name = this.gateway.name;
    this.pageKeys = options.pageKeys ?? 500;
    this.quietMs = options.quietMs ?? 15_000;
  }

  async get(key: string): Promise<Entry | undefined> {
    const { entries } = this.read(await this.ask("/v3/kv/range", { key: encode(key) }, "read"), pageOf);
    return entries[0];
  }

  async list(prefix: string): Promise<Listing> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.listOnce(prefix);
      } catch (e) {
        const isForgotten = e instanceof Refusal && e.code === CODE.outOfRange && tries < LIST_TRIES;
        if (!isForgotten) throw this.plain(e);
      }
    }
  }

  async put(key: string, value: string, { lease, when }: PutOptions = {}): Promise<Revision | undefined> {
    requireWritable(this.name, key, value);
    const put = { key: encode(key), value: encode(value), ...(lease === undefined ? {} : { lease }) };
    try {
      if (when === undefined) return this.read(await this.send("/v3/kv/put", put), revisionOf);
      const answer = await this.send("/v3/kv/txn", {
        compare: [comparisonOf(key, when)],
        success: [{ request_put: put }],
      });
      return answer["succeeded"] === true ? this.read(answer, revisionOf) : undefined;
    } catch (e) {
      if (!isGone(e)) throw this.plain(e);
      throw new NetError("try-again", { why: `${this.name}: lease ${String(lease)} is gone` }, { cause: e });
    }
  }

  async delete(key: string, when?: Condition): Promise<boolean> {
    const range = { key: encode(key) };
    if (when === undefined) {
      const answer = await this.ask("/v3/kv/deleterange", range, "write");
      return this.read(answer, deletedOf) > 0;
    }
    const answer = await this.ask(
      "/v3/kv/txn",
      { compare: [comparisonOf(key, when)], success: [{ request_delete_range: range }] },
      "write",
    );
    const done = outcomeOf(answer, "response_delete_range");
    return done !== undefined && this.read(done, deletedOf) > 0;
  }

  watch(prefix: string, options: WatchOptions): AsyncIterable<readonly Change[]> {
    return watchKeys(this.session, prefix, { ...options, quietMs: this.quietMs });
  }

  async grant(seconds: number): Promise<string> {
    requireLeaseTime(seconds);
    const answer = await this.ask("/v3/lease/grant", { TTL: String(seconds) }, "write");
    return this.read(answer, leaseOf).id;
  }

  async refresh(lease: string): Promise<number | undefined> {
    return this.secondsOf(await this.ask("/v3/lease/keepalive", { ID: lease }, "read"));
  }

  async timeToLive(lease: string): Promise<number | undefined> {
    return this.secondsOf(await this.ask("/v3/lease/timetolive", { ID: lease }, "read"));
  }

  async revoke(lease: string): Promise<void> {
    try {
      await this.send("/v3/lease/revoke", { ID: lease });
    } catch (e) {
      if (!isGone(e)) throw this.plain(e);
    }
  }

  /** Nobody writes a key with a lease that is nobody's any longer: between the two requests nothing can change. */
  async revokeUnused(lease: string): Promise<boolean> {
    const answer = await this.ask("/v3/lease/timetolive", { ID: lease, keys: true }, "read");
    if (this.secondsOf(answer) === undefined) return true;
    const keys: unknown = answer["keys"] ?? [];
    if (!Array.isArray(keys) || keys.length > 0) return false;
    await this.revoke(lease);
    return true;
  }

  close(): void {
    this.gateway.close();
  }

  /** All pages of one moment; pages become smaller where values are large. */
  private async listOnce(prefix: string): Promise<Listing> {
    const range = rangeOf(prefix);
    const entries: Entry[] = [];
    let revision: Revision | undefined;
    let limit = this.pageKeys;
    for (;;) {
      const last = entries.at(-1);
      const page: Page | "too large" = await this.page({
        ...range,
        ...(last === undefined ? {} : { key: keyAfter(last.key) }),
        ...(revision === undefined ? {} : { revision: String(revision) }),
        limit: String(limit),
      }).catch((e: unknown) => {
        if (e instanceof TooLarge && limit > 1) return "too large";
        throw e;
      });
      if (page === "too large") {
        limit = Math.ceil(limit / 8);
        continue;
      }
      revision ??= page.revision;
      entries.push(...page.entries);
      if (entries.length > LIST_LIMIT) throw this.unavailable(`more than ${LIST_LIMIT} keys below ${prefix}`);
      if (!page.hasMore) return { entries, revision };
      if (page.entries.length === 0)
        throw this.unavailable("it says that there are more keys and tells none");
    }
  }

  private async page(range: Readonly<Record<string, string>>): Promise<Page> {
    return this.read(await this.session.ask("/v3/kv/range", range, "read"), pageOf);
  }

  private secondsOf(answer: Members): number | undefined {
    const { seconds } = this.read(answer, leaseOf);
    return seconds > 0 ? seconds : undefined;
  }

  private send(path: string, body: unknown): Promise<Members> {
    return this.session.ask(path, body, "write");
  }

  private async ask(path: string, body: unknown, kind: Kind): Promise<Members> {
    try {
      return await this.session.ask(path, body, kind);
    } catch (e) {
      throw this.plain(e);
    }
  }

  /** What an answer says, or that it says nothing that can be used. */
  private read<T>(answer: Members, codec: (answer: Members) => T | undefined): T {
    const value = codec(answer);
    if (value === undefined) throw this.unavailable("the answer lacks what it should have");
    return value;
  }

  /** An error that callers know. */
  private plain(e: unknown): unknown {
    return e instanceof Refusal || e instanceof TooLarge ? this.unavailable(e.message, e) : e;
  }

  private unavailable(why: string, cause?: unknown): NetError {
    return this.gateway.unavailable(why, cause);
  }
}

const comparisonOf = (key: string, when: Condition): Readonly<Record<string, string>> =>
  "absent" in when
    ? { key: encode(key), result: "EQUAL", target: "VERSION", version: "0" }
    : { key: encode(key), result: "EQUAL", target: "MOD", mod_revision: String(when.revision) };

const deletedOf = (answer: Members): number | undefined => numberOf(answer["deleted"]);

const isGone = (e: unknown): boolean => e instanceof Refusal && e.code === CODE.notFound;
