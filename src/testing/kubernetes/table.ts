/** Objects as rows: what `kubectl get` prints, which the server decides. */
import type { Json, JsonObject } from "./json.ts";
import { isJsonObject, listAt, objectAt, textAt, plain } from "./json.ts";
import type { Resource } from "./resources.ts";

interface Column {
  readonly name: string;
  readonly type: "string" | "integer" | "date";
  /** Above 0: printed with `-o wide`. */
  readonly priority?: number;
  readonly cell: (object: JsonObject) => Json;
}

/** How long ago, with at most two units, as all of Kubernetes prints it. */
export function humanDuration(seconds: number): string {
  const [minutes, hours, days] = [seconds / 60, seconds / 3600, seconds / 86_400].map(Math.floor) as [
    number,
    number,
    number,
  ];
  const two = (big: number, bigUnit: string, small: number, smallUnit: string): string =>
    small === 0 ? `${big}${bigUnit}` : `${big}${bigUnit}${small}${smallUnit}`;
  if (seconds < 120) return `${Math.floor(seconds)}s`;
  if (minutes < 10) return two(minutes, "m", Math.floor(seconds) % 60, "s");
  if (minutes < 180) return `${minutes}m`;
  if (hours < 8) return two(hours, "h", minutes % 60, "m");
  if (hours < 48) return `${hours}h`;
  if (hours < 192) return two(days, "d", hours % 24, "h");
  if (days < 730) return `${days}d`;
  const years = Math.floor(days / 365);
  return years < 8 ? two(years, "y", days % 365, "d") : `${years}y`;
}

const name: Column = { name: "Name", type: "string", cell: (o) => textAt(o, "metadata", "name") };
const age: Column = {
  name: "Age",
  type: "string",
  cell: (o) => {
    const born = Date.parse(textAt(o, "metadata", "creationTimestamp"));
    return Number.isNaN(born) ? "<unknown>" : humanDuration(Math.max(0, (Date.now() - born) / 1000));
  },
};
const created: Column = {
  name: "Created At",
  type: "date",
  cell: (o) => textAt(o, "metadata", "creationTimestamp"),
};
const text = (title: string, cell: (object: JsonObject) => string, priority = 0): Column => ({
  name: title,
  type: "string",
  priority,
  cell: (o) => cell(o) || "<none>",
});
const count = (title: string, ...path: readonly string[]): Column => ({
  name: title,
  type: "integer",
  cell: (o) => {
    const found = objectAt(o, ...path.slice(0, -1))[path.at(-1) ?? ""];
    return typeof found === "number" ? found : 0;
  },
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
    { name: "Status", type: "string", cell: nodeStatus },
    text("Roles", nodeRoles),
    age,
    { name: "Version", type: "string", cell: info("kubeletVersion") },
    text("Internal-IP", addressOf("InternalIP"), WIDE),
    text("External-IP", addressOf("ExternalIP"), WIDE),
    text("OS-Image", info("osImage"), WIDE),
    text("Kernel-Version", info("kernelVersion"), WIDE),
    text("Container-Runtime", info("containerRuntimeVersion"), WIDE),
  ],
  namespaces: [name, { name: "Status", type: "string", cell: (o) => textAt(o, "status", "phase") }, age],
  configmaps: [
    name,
    {
      name: "Data",
      type: "string",
      cell: (o) =>
        String(Object.keys(objectAt(o, "data")).length + Object.keys(objectAt(o, "binaryData")).length),
    },
    age,
  ],
  pods: [
    name,
    {
      name: "Ready",
      type: "string",
      cell: (o) =>
        `${listAt(o, "status", "containerStatuses").filter((c) => isJsonObject(c) && c["ready"] === true).length}/${listAt(o, "spec", "containers").length}`,
    },
    { name: "Status", type: "string", cell: (o) => textAt(o, "status", "phase") },
    { name: "Restarts", type: "string", cell: () => "0" },
    age,
    text("IP", (o) => textAt(o, "status", "podIP"), WIDE),
    text("Node", (o) => textAt(o, "spec", "nodeName"), WIDE),
  ],
  events: [
    text("Last Seen", (o) => textAt(o, "lastTimestamp")),
    text("Type", (o) => textAt(o, "type")),
    text("Reason", (o) => textAt(o, "reason")),
    text("Object", (o) =>
      `${textAt(o, "involvedObject", "kind")}/${textAt(o, "involvedObject", "name")}`.toLowerCase(),
    ),
    text("Message", (o) => textAt(o, "message")),
  ],
  daemonsets: [
    name,
    count("Desired", "status", "desiredNumberScheduled"),
    count("Current", "status", "currentNumberScheduled"),
    count("Ready", "status", "numberReady"),
    count("Up-to-date", "status", "updatedNumberScheduled"),
    count("Available", "status", "numberAvailable"),
    text("Node Selector", (o) =>
      Object.entries(objectAt(o, "spec", "template", "spec", "nodeSelector"))
        .map(([key, value]) => `${key}=${plain(value)}`)
        .join(","),
    ),
    age,
  ],
  clusterroles: [name, created],
  clusterrolebindings: [
    name,
    text("Role", (o) => `${textAt(o, "roleRef", "kind")}/${textAt(o, "roleRef", "name")}`),
    age,
  ],
};

/** What each row carries beside its cells. */
export type IncludeObject = "None" | "Metadata" | "Object";

/** A Table of `meta.k8s.io`. A watch sends the columns once, with its first row. */
export function tableOf(
  resource: Resource,
  objects: readonly JsonObject[],
  metadata: JsonObject,
  include: IncludeObject,
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
          type: column.type,
          format: column.name === "Name" ? "name" : "",
          description: "",
          priority: column.priority ?? 0,
        }))
      : [],
    rows: objects.map((object) => ({
      cells: own.map((column) => column.cell(object)),
      ...(include === "None"
        ? {}
        : {
            object:
              include === "Object"
                ? object
                : {
                    kind: "PartialObjectMetadata",
                    apiVersion: "meta.k8s.io/v1",
                    metadata: objectAt(object, "metadata"),
                  },
          }),
    })),
  };
}
