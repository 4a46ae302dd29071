/** The kinds that the stand-in keeps: how they are called, what may be done with them, and the rules that are their own. */
import { parsePrefix } from "../../net/ip.ts";
import type { Cause } from "./api-error.ts";
import {
  type Json,
  type JsonObject,
  listAt,
  objectAt,
  sameJson,
  textAt,
  withMetadata,
  plain,
} from "./json.ts";
import type { Schema } from "./schema.ts";
import * as schemas from "./schemas.ts";

export interface Resource {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly shortNames: readonly string[];
  readonly namespaced: boolean;
  readonly schema: Schema;
  /** It has a status of its own, which only `…/status` writes, and that writes nothing else but metadata. */
  readonly status?: true;
  /** The server counts the changes of its spec. */
  readonly generation?: true;
  /** Brings fields into line before anything else looks at them. */
  readonly normal?: (object: JsonObject) => JsonObject;
  readonly created?: (object: JsonObject) => JsonObject;
  readonly validate?: (object: JsonObject, before: JsonObject | undefined) => readonly Cause[];
}

export const apiVersionOf = ({ group, version }: Pick<Resource, "group" | "version">): string =>
  group === "" ? version : `${group}/${version}`;

/** A node's first prefix stands in a field of its own too, from the time when there was but one. */
function normalNode(node: JsonObject): JsonObject {
  const spec = objectAt(node, "spec");
  const one = textAt(spec, "podCIDR");
  const all = listAt(spec, "podCIDRs");
  if (one === "" && all.length === 0) return node;
  const podCIDRs: readonly Json[] = all.length === 0 ? [one] : all;
  return { ...node, spec: { ...spec, podCIDR: one === "" ? (podCIDRs[0] ?? "") : one, podCIDRs } };
}

function nodeCauses(node: JsonObject, before: JsonObject | undefined): readonly Cause[] {
  const prefixes = listAt(node, "spec", "podCIDRs");
  const field = "spec.podCIDRs";
  const old = before === undefined ? [] : listAt(before, "spec", "podCIDRs");
  if (old.length > 0 && !sameJson(old, prefixes))
    return [
      {
        field,
        reason: "FieldValueForbidden",
        message: `Forbidden: node updates may not change podCIDR except from "" to valid`,
      },
    ];
  const parsed = prefixes.map((prefix) => parsePrefix(plain(prefix)));
  const wrong = prefixes.flatMap((prefix, i): readonly Cause[] =>
    parsed[i]?.ok === true
      ? []
      : [
          {
            field: `${field}[${i}]`,
            reason: "FieldValueInvalid",
            message: `Invalid value: ${JSON.stringify(prefix)}: must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`,
          },
        ],
  );
  const families = parsed.map((result) => (result.ok ? result.value.ip.family : 0));
  const twice = wrong.length === 0 && new Set(families).size < families.length;
  return twice
    ? [
        {
          field,
          reason: "FieldValueInvalid",
          message: `Invalid value: ${JSON.stringify(prefixes)}: may specify no more than one CIDR for each IP family`,
        },
      ]
    : wrong;
}

function createdNamespace(namespace: JsonObject): JsonObject {
  const labels = {
    ...objectAt(namespace, "metadata", "labels"),
    "kubernetes.io/metadata.name": textAt(namespace, "metadata", "name"),
  };
  return {
    ...withMetadata(namespace, { labels }),
    spec: { finalizers: ["kubernetes"] },
    status: { phase: "Active" },
  };
}

function daemonSetCauses(set: JsonObject, before: JsonObject | undefined): readonly Cause[] {
  const required = (field: string): Cause => ({
    field,
    reason: "FieldValueRequired",
    message: "Required value",
  });
  const wanted = Object.entries(objectAt(set, "spec", "selector", "matchLabels"));
  if (wanted.length === 0) return [required("spec.selector")];
  const labels = objectAt(set, "spec", "template", "metadata", "labels");
  if (!wanted.every(([key, value]) => labels[key] === value))
    return [
      {
        field: "spec.template.metadata.labels",
        reason: "FieldValueInvalid",
        message: `Invalid value: ${JSON.stringify(labels)}: \`selector\` does not match template \`labels\``,
      },
    ];
  if (
    before !== undefined &&
    !sameJson(objectAt(before, "spec", "selector"), objectAt(set, "spec", "selector"))
  )
    return [
      {
        field: "spec.selector",
        reason: "FieldValueInvalid",
        message: `Invalid value: ${JSON.stringify(objectAt(set, "spec", "selector"))}: field is immutable`,
      },
    ];
  if (listAt(set, "spec", "template", "spec", "containers").length === 0)
    return [required("spec.template.spec.containers")];
  return mountCauses(objectAt(set, "spec", "template", "spec"), "spec.template.spec");
}

/** What is mounted is a volume of the pod. */
function mountCauses(spec: JsonObject, at: string): readonly Cause[] {
  const nameOf = (value: Json): string => textAt(value as JsonObject, "name");
  const volumes = new Set(listAt(spec, "volumes").map(nameOf));
  return (["initContainers", "containers"] as const).flatMap((which) =>
    listAt(spec, which).flatMap((container, i) =>
      listAt(container as JsonObject, "volumeMounts").flatMap((mount, j): readonly Cause[] =>
        volumes.has(nameOf(mount))
          ? []
          : [
              {
                field: `${at}.${which}[${i}].volumeMounts[${j}].name`,
                reason: "FieldValueInvalid",
                message: `Not found: "${nameOf(mount)}"`,
              },
            ],
      ),
    ),
  );
}

const rbac = { group: "rbac.authorization.k8s.io", version: "v1", shortNames: [] } as const;
const core = { group: "", version: "v1" } as const;

export const resources: readonly Resource[] = [
  {
    ...core,
    plural: "configmaps",
    singular: "configmap",
    kind: "ConfigMap",
    shortNames: ["cm"],
    namespaced: true,
    schema: schemas.configMapSchema,
  },
  {
    ...core,
    plural: "namespaces",
    singular: "namespace",
    kind: "Namespace",
    shortNames: ["ns"],
    namespaced: false,
    schema: schemas.namespaceSchema,
    status: true,
    created: createdNamespace,
  },
  {
    ...core,
    plural: "nodes",
    singular: "node",
    kind: "Node",
    shortNames: ["no"],
    namespaced: false,
    schema: schemas.nodeSchema,
    status: true,
    normal: normalNode,
    validate: nodeCauses,
  },
  {
    ...core,
    plural: "pods",
    singular: "pod",
    kind: "Pod",
    shortNames: ["po"],
    namespaced: true,
    schema: schemas.podSchema,
    status: true,
    created: (pod) => ({ ...pod, status: { phase: "Pending" } }),
  },
  {
    ...core,
    plural: "serviceaccounts",
    singular: "serviceaccount",
    kind: "ServiceAccount",
    shortNames: ["sa"],
    namespaced: true,
    schema: schemas.serviceAccountSchema,
  },
  {
    group: "apps",
    version: "v1",
    plural: "daemonsets",
    singular: "daemonset",
    kind: "DaemonSet",
    shortNames: ["ds"],
    namespaced: true,
    schema: schemas.daemonSetSchema,
    status: true,
    generation: true,
    created: (daemonSet) => ({ ...daemonSet, status: {} }),
    validate: daemonSetCauses,
  },
  {
    ...rbac,
    plural: "clusterroles",
    singular: "clusterrole",
    kind: "ClusterRole",
    namespaced: false,
    schema: schemas.roleSchema,
  },
  {
    ...rbac,
    plural: "clusterrolebindings",
    singular: "clusterrolebinding",
    kind: "ClusterRoleBinding",
    namespaced: false,
    schema: schemas.roleBindingSchema,
  },
];

export const resourceOf = (group: string, plural: string): Resource | undefined =>
  resources.find((resource) => resource.group === group && resource.plural === plural);
