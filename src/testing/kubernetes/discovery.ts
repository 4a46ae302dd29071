/** What the server says of itself: versions, groups, resources, and of OpenAPI that which tells kubectl what it may ask. */
import { noSuchPath } from "./api-error.ts";
import type { Json, JsonObject } from "./json.ts";
import { apiVersionOf, type Resource, resources } from "./resources.ts";

const VERSION: JsonObject = {
  major: "1",
  minor: "36",
  gitVersion: "v1.36.0+stand-in",
  gitCommit: "",
  gitTreeState: "clean",
  buildDate: "2026-01-01T00:00:00Z",
  goVersion: "none",
  compiler: "none",
  platform: "linux/amd64",
};

/** Kinds that are asked and not kept. */
export const reviews = [
  {
    group: "authorization.k8s.io",
    plural: "selfsubjectaccessreviews",
    kind: "SelfSubjectAccessReview",
  },
  { group: "authentication.k8s.io", plural: "selfsubjectreviews", kind: "SelfSubjectReview" },
] as const;

const groups = [
  ...new Set([...resources.map(({ group }) => group), ...reviews.map(({ group }) => group)]),
].filter((group) => group !== "");
const VERBS = ["create", "delete", "get", "list", "patch", "watch"] as const;

const groupOf = (name: string): JsonObject => {
  const version = { groupVersion: `${name}/v1`, version: "v1" };
  return { name, versions: [version], preferredVersion: version };
};

function listOf(group: string): JsonObject {
  const own = resources.filter((resource) => resource.group === group);
  const entries = own.flatMap((resource): readonly JsonObject[] => {
    const { plural, singular, namespaced, kind, shortNames } = resource;
    const main = { name: plural, singularName: singular, namespaced, kind, verbs: VERBS, shortNames };
    const status = {
      name: `${plural}/status`,
      singularName: "",
      namespaced,
      kind,
      verbs: ["get", "patch"],
    };
    return resource.status === true ? [main, status] : [main];
  });
  const asked = reviews
    .filter((review) => review.group === group)
    .map(({ plural, kind }) => ({
      name: plural,
      singularName: kind.toLowerCase(),
      namespaced: false,
      kind,
      verbs: ["create"],
    }));
  return {
    kind: "APIResourceList",
    apiVersion: "v1",
    groupVersion: group === "" ? "v1" : `${group}/v1`,
    resources: [...entries, ...asked],
  };
}

/** `/api/v1` or `/apis/GROUP/v1`. */
const pathOf = (group: string): string => (group === "" ? "api/v1" : `apis/${group}/v1`);

/**
 * The operations with their query parameters, without the forms of objects: a client that finds `fieldValidation` leaves the
 * validation to the server, and one that does not find `dryRun` does not ask for it.
 */
function openApi(group: string): JsonObject {
  const parameter = (name: string): JsonObject => ({
    name,
    in: "query",
    schema: { type: "string", uniqueItems: true },
  });
  const pathFor = (resource: Resource): readonly [string, Json] => [
    `/${pathOf(group)}/${resource.namespaced ? "namespaces/{namespace}/" : ""}${resource.plural}/{name}`,
    {
      patch: {
        operationId: `patch${resource.kind}`,
        parameters: [parameter("fieldManager"), parameter("fieldValidation")],
        responses: { "200": { description: "OK" } },
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {
          group,
          version: resource.version,
          kind: resource.kind,
        },
      },
    },
  ];
  return {
    openapi: "3.0.0",
    info: { title: "Kubernetes", version: "v1.36.0" },
    paths: Object.fromEntries(resources.filter((resource) => resource.group === group).map(pathFor)),
    components: { schemas: {} },
  };
}

/** What is read at a path that is no resource. @throws ApiError 404 */
export function discover(path: string): JsonObject | string {
  if (["/healthz", "/livez", "/readyz"].includes(path)) return "ok";
  if (path === "/version") return VERSION;
  if (path === "/api") return { kind: "APIVersions", versions: ["v1"], serverAddressByClientCIDRs: [] };
  if (path === "/apis") return { kind: "APIGroupList", apiVersion: "v1", groups: groups.map(groupOf) };
  if (path === "/openapi/v3")
    return {
      paths: Object.fromEntries(
        ["", ...groups].map((group) => [
          pathOf(group),
          { serverRelativeURL: `/openapi/v3/${pathOf(group)}` },
        ]),
      ),
    };
  for (const group of ["", ...groups]) {
    if (path === `/${pathOf(group)}`) return listOf(group);
    if (path === `/openapi/v3/${pathOf(group)}`) return openApi(group);
    if (path === `/apis/${group}`) return { kind: "APIGroup", apiVersion: "v1", ...groupOf(group) };
  }
  throw noSuchPath();
}

/** The `apiVersion` and `kind` that objects of a resource say of themselves. */
export const typeOf = (resource: Resource): JsonObject => ({
  kind: resource.kind,
  apiVersion: apiVersionOf(resource),
});
