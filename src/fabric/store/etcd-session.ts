/** Requests to etcd as a user: the token is fetched when the first request needs it, and again when it is no longer good. */
import { NetError } from "../../errors.ts";
import { CODE, type Gateway, type Headers, type Kind, Refusal } from "./etcd-gateway.ts";
import { type Members, words } from "./shape.ts";

export interface EtcdUser {
  readonly name: string;
  readonly password: string;
}

/** Longest token that is taken, in characters; those of public keys have about a thousand. */
const TOKEN_LIMIT = 16 * 1024;

export class Session {
  readonly gateway: Gateway;
  private readonly user: EtcdUser | undefined;
  /** Empty where the store has no users. */
  private token: string | undefined;
  private fetching: Promise<string> | undefined;

  constructor(gateway: Gateway, user: EtcdUser | undefined) {
    this.gateway = gateway;
    this.user = user;
  }

  /** @throws Refusal for what the caller may expect, TooLarge, store/unavailable, store/denied */
  ask(path: string, body: unknown, kind: Kind): Promise<Members> {
    return this.withToken((headers) => this.gateway.ask(path, body, kind, headers));
  }

  /** Does something with the headers that name the user, and once more with new ones if the old are not accepted. */
  async withToken<T>(work: (headers: Headers) => Promise<T>): Promise<T> {
    for (let isFirst = true; ; isFirst = false) {
      const headers = await this.headers();
      try {
        return await work(headers);
      } catch (e) {
        if (!(e instanceof Refusal)) throw e;
        if (!isFirst || this.user === undefined || !isStale(e)) throw this.denied(e) ?? e;
        this.forget(headers);
      }
    }
  }

  async headers(): Promise<Headers> {
    if (this.user === undefined) return {};
    if (this.token === undefined) {
      this.fetching ??= this.authenticate(this.user).finally(() => (this.fetching = undefined));
      this.token = await this.fetching;
    }
    return this.token === "" ? {} : { authorization: this.token };
  }

  /** The next request fetches a token, unless somebody has done so since. */
  forget({ authorization = "" }: Headers): void {
    if (this.token === authorization) this.token = undefined;
  }

  /** `store/denied`, if that is what a refusal means. */
  denied(e: Refusal): NetError | undefined {
    const isDenied =
      e.code === CODE.permissionDenied ||
      e.code === CODE.unauthenticated ||
      /authentication failed|user name|auth token|auth store|permission denied|too large/.test(e.message);
    if (!isDenied) return undefined;
    return new NetError("store/denied", { store: this.gateway.name, why: e.message }, { cause: e });
  }

  private async authenticate({ name, password }: EtcdUser): Promise<string> {
    try {
      const answer = await this.gateway.ask("/v3/auth/authenticate", { name, password }, "read", {});
      const token = words(answer["token"]) ?? "";
      // It goes into a header.
      if (/^[\x21-\x7e]+$/.test(token) && token.length <= TOKEN_LIMIT) return token;
    } catch (e) {
      if (!(e instanceof Refusal)) throw e;
      if (e.message.includes("authentication is not enabled")) return "";
      throw this.denied(e) ?? this.gateway.unavailable(`the user ${name} gets no token: ${e.message}`, e);
    }
    throw this.gateway.unavailable(`the token of the user ${name} cannot be used`);
  }
}

const isStale = ({ code, message }: Refusal): boolean =>
  code === CODE.unauthenticated || /auth token|auth store is old|user name is empty/.test(message);
