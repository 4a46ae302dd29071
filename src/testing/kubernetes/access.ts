/** Who calls and what he may do: client certificates, bearer tokens, and the rules of roles and bindings in the store. */
import { isJsonObject, type Json, type JsonObject, listAt, textAt, plain } from "./json.ts";
import type { Store } from "./store.ts";

export interface User {
  readonly name: string;
  readonly groups: readonly string[];
}

/** What somebody wants to do: something with a resource, or to read a path. */
export type Attempt =
  | {
      readonly kind: "resource";
      readonly verb: string;
      readonly group: string;
      /** With its subresource: `nodes/status`. */
      readonly resource: string;
      readonly namespace: string;
      readonly name: string;
    }
  | { readonly kind: "path"; readonly verb: string; readonly path: string };

export const ANONYMOUS: User = { name: "system:anonymous", groups: ["system:unauthenticated"] };
const AUTHENTICATED = "system:authenticated";
export const authenticated = (name: string, groups: readonly string[]): User => ({
  name,
  groups: [...groups, AUTHENTICATED],
});

/** The user of a pod: the token that is mounted into it says so. */
export const serviceAccount = (namespace: string, name: string): User =>
  authenticated(`system:serviceaccount:${namespace}:${name}`, [
    "system:serviceaccounts",
    `system:serviceaccounts:${namespace}`,
  ]);

const RBAC = "rbac.authorization.k8s.io";

/** True if a role that is bound to the user allows it. The system's own roles are those of every cluster. */
export function mayDo(store: Store, user: User, attempt: Attempt): boolean {
  if (user.groups.includes("system:masters")) return true;
  if (ownRules(user).some((rule) => allows(rule, attempt))) return true;
  return store
    .at(`${RBAC}/clusterrolebindings/`, store.revision())
    .filter(([, binding]) => listAt(binding, "subjects").some((subject) => isSubject(subject, user)))
    .some(([, binding]) => {
      const role = store.get(`${RBAC}/clusterroles//${textAt(binding, "roleRef", "name")}`);
      return listAt(role ?? {}, "rules").some((rule) => isJsonObject(rule) && allows(rule, attempt));
    });
}

function isSubject(subject: Json, user: User): boolean {
  if (!isJsonObject(subject)) return false;
  const { kind, name, namespace } = subject;
  if (kind === "ServiceAccount")
    return user.name === `system:serviceaccount:${plain(namespace)}:${plain(name)}`;
  return kind === "Group" ? user.groups.includes(plain(name)) : kind === "User" && user.name === name;
}

function allows(rule: JsonObject, attempt: Attempt): boolean {
  const has = (key: string, value: string): boolean => {
    const values = listAt(rule, key);
    return values.includes("*") || values.includes(value);
  };
  if (!has("verbs", attempt.verb)) return false;
  if (attempt.kind === "path")
    return listAt(rule, "nonResourceURLs").some((url) => {
      const text = plain(url);
      return text.endsWith("*") ? attempt.path.startsWith(text.slice(0, -1)) : attempt.path === text;
    });
  const names = listAt(rule, "resourceNames");
  return (
    has("apiGroups", attempt.group) &&
    has("resources", attempt.resource) &&
    (names.length === 0 || names.includes(attempt.name))
  );
}

const HEALTH: JsonObject = {
  verbs: ["get"],
  nonResourceURLs: ["/version", "/healthz", "/livez", "/readyz"],
};
const DISCOVERY: JsonObject = {
  verbs: ["get"],
  nonResourceURLs: ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"],
};
const REVIEW: JsonObject = {
  verbs: ["create"],
  apiGroups: ["authorization.k8s.io", "authentication.k8s.io"],
  resources: ["selfsubjectaccessreviews", "selfsubjectreviews"],
};
const ownRules = (user: User): readonly JsonObject[] =>
  user.groups.includes(AUTHENTICATED) ? [HEALTH, DISCOVERY, REVIEW] : [HEALTH];

/** The sentence of a refusal, as clients print it. */
export function refusalOf(user: User, attempt: Attempt): string {
  if (attempt.kind === "path")
    return `forbidden: User "${user.name}" cannot ${attempt.verb} path "${attempt.path}"`;
  const { group, resource, name, namespace, verb } = attempt;
  const [plural = ""] = resource.split("/");
  const what = `${plural}${group === "" ? "" : `.${group}`}${name === "" ? "" : ` "${name}"`}`;
  const where = namespace === "" ? "at the cluster scope" : `in the namespace "${namespace}"`;
  return `${what} is forbidden: User "${user.name}" cannot ${verb} resource "${resource}" in API group "${group}" ${where}`;
}
