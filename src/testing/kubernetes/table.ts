/** Objects as rows: what `kubectl get` prints, which the server decides. */
import type { Json, JsonObject } from "./json.ts";
import { isJsonObject, listAt, objectAt, textAt } from "./json.ts";
import type { Resource } from "./resources.ts";

interface Column {
  readonly name: string;
  /** Above 0: printed with `-o wide`. */
  readonly priority?: number;
  readonly cell: (object: JsonObject) => Json;
}

const name: Column = { name: "Name", cell: (o) => textAt(o, "metadata", "name") };
const age: Column = {
  name: "Age",
  cell: (o) => {
    const born = Date.parse(textAt(o, "metadata", "creationTimestamp"));
    // No cluster of a test lives for two minutes, from where on the real one has other units.
    return Number.isNaN(born) ? "<unknown>" : `${Math.max(0, Math.floor((Date.now() - born) / 1000))}s`;
  },
};
const text = (title: string, cell: (object: JsonObject) => string, priority = 0): Column => ({
  name: title,
  priority,
  cell: (o) => cell(o) || "<none>",
});
function nodeStatus(node: JsonObject): string {
  const ready = listAt(node, "status", "conditions").find((c) => isJsonObject(c) && c["type"] === "Ready");
  const word = isJsonObject(ready) ? (ready["status"] === "True" ? "Ready" : "NotReady") : "Unknown";
  return objectAt(node, "spec")["unschedulable"] === true ? `${word},SchedulingDisabled` : word;
}
const nodeRoles = (node: JsonObject): string =>
  Object.keys(objectAt(node, "metadata", "labels"))
    .flatMap((label) => /^node-role\.kubernetes\.io\/(.+)$/.exec(label)?.[1] ?? [])
    .toSorted()
    .join(",");
const addressOf = (type: string) => (node: JsonObject) => {
  const found = listAt(node, "status", "addresses").find((a) => isJsonObject(a) && a["type"] === type);
  return isJsonObject(found) ? textAt(found, "address") : "";
};
const info = (field: string) => (node: JsonObject) => textAt(node, "status", "nodeInfo", field);
const WIDE = 1;

const columns: Readonly<Record<string, readonly Column[]>> = {
  nodes: [
    name,
    { name: "Status", cell: nodeStatus },
    text("Roles", nodeRoles),
    age,
    { name: "Version", cell: info("kubeletVersion") },
    text("Internal-IP", addressOf("InternalIP"), WIDE),
    text("External-IP", addressOf("ExternalIP"), WIDE),
    text("OS-Image", info("osImage"), WIDE),
    text("Kernel-Version", info("kernelVersion"), WIDE),
    text("Container-Runtime", info("containerRuntimeVersion"), WIDE),
  ],
};

/** A Table of `meta.k8s.io`. A watch sends the columns once, with its first row. */
export function tableOf(
  resource: Resource,
  objects: readonly JsonObject[],
  metadata: JsonObject,
  withColumns = true,
): JsonObject {
  const own = columns[resource.plural] ?? [name, age];
  return {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    metadata,
    columnDefinitions: withColumns
      ? own.map((column) => ({
          name: column.name,
          type: "string",
          format: column.name === "Name" ? "name" : "",
          description: "",
          priority: column.priority ?? 0,
        }))
      : [],
    rows: objects.map((object) => ({
      cells: own.map((column) => column.cell(object)),
      object: {
        kind: "PartialObjectMetadata",
        apiVersion: "meta.k8s.io/v1",
        metadata: objectAt(object, "metadata"),
      },
    })),
  };
}
