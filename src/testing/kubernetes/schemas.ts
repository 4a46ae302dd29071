/** The forms of the kinds that the stand-in keeps, with the keys by which a strategic merge patch joins their lists. */
import {
  anything,
  flag,
  integer,
  list,
  listBy,
  map,
  object,
  quantity,
  type Schema,
  set,
  text,
  union,
} from "./schema.ts";

const metadata = object({
  name: text,
  generateName: text,
  namespace: text,
  selfLink: text,
  uid: text,
  resourceVersion: text,
  generation: integer,
  creationTimestamp: text,
  deletionTimestamp: text,
  deletionGracePeriodSeconds: integer,
  labels: map(text),
  annotations: map(text),
  ownerReferences: listBy(
    "uid",
    object({
      apiVersion: text,
      kind: text,
      name: text,
      uid: text,
      controller: flag,
      blockOwnerDeletion: flag,
    }),
  ),
  finalizers: set(text),
  managedFields: anything,
});

const topLevel = (fields: Readonly<Record<string, Schema>>): Schema =>
  object({ apiVersion: text, kind: text, metadata, ...fields });

const condition = object({
  type: text,
  status: text,
  observedGeneration: integer,
  lastHeartbeatTime: text,
  lastProbeTime: text,
  lastTransitionTime: text,
  reason: text,
  message: text,
});
const conditions = listBy("type", condition);

export const nodeSchema = topLevel({
  spec: object({
    podCIDR: text,
    podCIDRs: set(text),
    providerID: text,
    unschedulable: flag,
    taints: list(object({ key: text, value: text, effect: text, timeAdded: text })),
  }),
  status: object({
    capacity: map(quantity),
    allocatable: map(quantity),
    phase: text,
    conditions,
    addresses: listBy("type", object({ type: text, address: text })),
    daemonEndpoints: anything,
    nodeInfo: map(anything),
    images: anything,
    volumesInUse: list(text),
    volumesAttached: anything,
    runtimeHandlers: anything,
    features: anything,
  }),
});

export const namespaceSchema = topLevel({
  spec: object({ finalizers: list(text) }),
  status: object({ phase: text, conditions }),
});

export const configMapSchema = topLevel({ data: map(text), binaryData: map(text), immutable: flag });

export const serviceAccountSchema = topLevel({
  secrets: listBy("name", anything),
  imagePullSecrets: list(object({ name: text })),
  automountServiceAccountToken: flag,
});

const rules = list(
  object({
    verbs: list(text),
    apiGroups: list(text),
    resources: list(text),
    resourceNames: list(text),
    nonResourceURLs: list(text),
  }),
);
export const roleSchema = topLevel({ rules, aggregationRule: anything });
export const roleBindingSchema = topLevel({
  subjects: list(object({ kind: text, apiGroup: text, name: text, namespace: text })),
  roleRef: object({ apiGroup: text, kind: text, name: text }),
});

const fieldRef = object({ apiVersion: text, fieldPath: text });
const keyRef = object({ name: text, key: text, optional: flag });
const probe = object({
  httpGet: object({ path: text, port: quantity, host: text, scheme: text, httpHeaders: anything }),
  exec: object({ command: list(text) }),
  tcpSocket: object({ port: quantity, host: text }),
  grpc: anything,
  initialDelaySeconds: integer,
  timeoutSeconds: integer,
  periodSeconds: integer,
  successThreshold: integer,
  failureThreshold: integer,
  terminationGracePeriodSeconds: integer,
});
const securityContext = object({
  capabilities: object({ add: list(text), drop: list(text) }),
  privileged: flag,
  seLinuxOptions: anything,
  runAsUser: integer,
  runAsGroup: integer,
  runAsNonRoot: flag,
  readOnlyRootFilesystem: flag,
  allowPrivilegeEscalation: flag,
  procMount: text,
  seccompProfile: anything,
  appArmorProfile: anything,
});
const container = object({
  name: text,
  image: text,
  imagePullPolicy: text,
  command: list(text),
  args: list(text),
  workingDir: text,
  ports: listBy(
    "containerPort",
    object({ name: text, containerPort: integer, hostPort: integer, hostIP: text, protocol: text }),
  ),
  env: listBy(
    "name",
    object({
      name: text,
      value: text,
      valueFrom: object({
        fieldRef,
        configMapKeyRef: keyRef,
        secretKeyRef: keyRef,
        resourceFieldRef: anything,
      }),
    }),
  ),
  envFrom: anything,
  resources: object({ limits: map(quantity), requests: map(quantity), claims: anything }),
  volumeMounts: listBy(
    "mountPath",
    object({
      name: text,
      mountPath: text,
      readOnly: flag,
      subPath: text,
      subPathExpr: text,
      mountPropagation: text,
      recursiveReadOnly: text,
    }),
  ),
  livenessProbe: probe,
  readinessProbe: probe,
  startupProbe: probe,
  lifecycle: anything,
  restartPolicy: text,
  securityContext,
  terminationMessagePath: text,
  terminationMessagePolicy: text,
});
const volume = union({
  name: text,
  hostPath: object({ path: text, type: text }),
  configMap: object({ name: text, items: anything, defaultMode: integer, optional: flag }),
  secret: object({ secretName: text, items: anything, defaultMode: integer, optional: flag }),
  emptyDir: object({ medium: text, sizeLimit: quantity }),
  projected: anything,
  downwardAPI: anything,
});
const nodeSelectorTerm = object({
  matchExpressions: list(object({ key: text, operator: text, values: list(text) })),
  matchFields: list(object({ key: text, operator: text, values: list(text) })),
});
const podSpec = object({
  volumes: listBy("name", volume),
  initContainers: listBy("name", container),
  containers: listBy("name", container),
  restartPolicy: text,
  terminationGracePeriodSeconds: integer,
  dnsPolicy: text,
  nodeSelector: map(text),
  serviceAccountName: text,
  serviceAccount: text,
  automountServiceAccountToken: flag,
  nodeName: text,
  hostNetwork: flag,
  hostPID: flag,
  hostIPC: flag,
  securityContext: anything,
  imagePullSecrets: listBy("name", object({ name: text })),
  affinity: object({
    nodeAffinity: object({
      requiredDuringSchedulingIgnoredDuringExecution: object({ nodeSelectorTerms: list(nodeSelectorTerm) }),
      preferredDuringSchedulingIgnoredDuringExecution: anything,
    }),
    podAffinity: anything,
    podAntiAffinity: anything,
  }),
  tolerations: list(
    object({ key: text, operator: text, value: text, effect: text, tolerationSeconds: integer }),
  ),
  priorityClassName: text,
  priority: integer,
  hostAliases: listBy("ip", anything),
});
export const podSchema = topLevel({
  spec: podSpec,
  status: object({
    phase: text,
    conditions,
    hostIP: text,
    hostIPs: listBy("ip", object({ ip: text })),
    podIP: text,
    podIPs: listBy("ip", object({ ip: text })),
    startTime: text,
    containerStatuses: anything,
    qosClass: text,
    reason: text,
    message: text,
  }),
});

export const daemonSetSchema = topLevel({
  spec: object({
    selector: object({
      matchLabels: map(text),
      matchExpressions: list(object({ key: text, operator: text, values: list(text) })),
    }),
    template: object({ metadata, spec: podSpec }),
    updateStrategy: object({
      type: text,
      rollingUpdate: object({ maxUnavailable: quantity, maxSurge: quantity }),
    }),
    minReadySeconds: integer,
    revisionHistoryLimit: integer,
  }),
  status: object({
    currentNumberScheduled: integer,
    numberMisscheduled: integer,
    desiredNumberScheduled: integer,
    numberReady: integer,
    observedGeneration: integer,
    updatedNumberScheduled: integer,
    numberAvailable: integer,
    numberUnavailable: integer,
    collisionCount: integer,
    conditions,
  }),
});
