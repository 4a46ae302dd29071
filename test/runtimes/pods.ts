/** Pods by a runtime's CRI, as a kubelet makes them: a sandbox that is itself the web server of the tests' image. */
import type { Cri } from "./cri.ts";

export interface Pod {
  readonly id: string;
  /** Of the first family; `ips` has all. */
  readonly ip: string;
  readonly ips: readonly string[];
}
export interface PodPort {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly hostIp?: string;
}

/** A pod that runs, with the address that the runtime tells. @throws what the runtime says if it cannot */
export async function runPod(
  cri: Cri,
  name: string,
  ports: readonly PodPort[] = [],
  annotations: Readonly<Record<string, string>> = {},
): Promise<Pod> {
  const metadata = { name, uid: `uid-${name}`, namespace: "tests", attempt: 0 };
  const config = {
    metadata,
    hostname: name,
    logDirectory: "/tmp",
    portMappings: ports,
    annotations,
    linux: {},
  };
  const { podSandboxId: id = "" } = await cri.call("RunPodSandbox", { config });
  const ips = await addressesOf(cri, id);
  return { id, ip: ips[0] ?? "", ips };
}

/** The addresses that the runtime tells of a pod; none without a network. */
export async function addressesOf(cri: Cri, podSandboxId: string): Promise<readonly string[]> {
  const { status } = await cri.call("PodSandboxStatus", { podSandboxId });
  const { ip = "", additionalIps = [] } = status?.network ?? {};
  return [ip, ...additionalIps.map((one) => one.ip ?? "")].filter((address) => address !== "");
}

/** Stops and removes a pod, as a kubelet does. */
export async function endPod(cri: Cri, podSandboxId: string): Promise<void> {
  await cri.call("StopPodSandbox", { podSandboxId });
  await cri.call("RemovePodSandbox", { podSandboxId });
}

export async function podIds(cri: Cri): Promise<readonly string[]> {
  const { items = [] } = await cri.call("ListPodSandbox", {});
  return items.map(({ id = "" }) => id);
}

/** Whether the runtime calls its network ready, and what it says if not. */
export async function networkReady(cri: Cri): Promise<true | string> {
  const { status } = await cri.call("Status", {});
  const network = status?.conditions?.find(({ type }) => type === "NetworkReady");
  return network?.status === true ? true : (network?.message ?? "no such condition");
}
