/** One exchange with the API server, with the credentials of the moment. */
import { type Answer, exchange as exchangeWith, type Exchange } from "../http.ts";
import type { ClusterAccess } from "./access.ts";
import { readCredentials } from "./credentials.ts";

/** @throws store/unavailable if there is no answer; the signal's reason if it fired */
export async function exchange(access: ClusterAccess, options: Exchange): Promise<Answer> {
  const { server, serverName } = access;
  const { authority, certificate, key, authorization } = readCredentials(access);
  const tls = {
    ...(authority === undefined ? {} : { ca: authority }),
    ...(certificate === undefined ? {} : { cert: certificate }),
    ...(key === undefined ? {} : { key }),
    ...(serverName === undefined ? {} : { serverName }),
  };
  return exchangeWith(
    { name: `Kubernetes at ${server.host}`, url: server, tls },
    { ...options, ...(authorization === undefined ? {} : { headers: { authorization } }) },
  );
}
