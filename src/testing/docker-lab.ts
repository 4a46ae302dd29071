/**
 * A host with Heddle's Docker plugin and no Docker: what tests of the plugin work on that make Docker's calls themselves,
 * and then do with the container's link what Docker does.
 */
import { type HeddleBinary, heddleBinary } from "./executable.ts";
import { startDaemon, type TestDaemon } from "./dhcp-lab.ts";
import { testNetns, type TestNetns } from "./netns.ts";
import { plainEnv } from "./run.ts";
import { tempDir } from "./temp-dir.ts";

export interface DockerLab extends AsyncDisposable {
  readonly host: TestNetns;
  readonly dir: string;
  readonly socket: string;
  readonly heddle: HeddleBinary;
  /** The plugin's variables. */
  readonly env: Readonly<Record<string, string>>;
  /** Starts the plugin in the host's namespace and waits until it listens. */
  plugin(...args: readonly string[]): Promise<TestDaemon>;
  /** Calls as Docker does; the answer, whatever it says. */
  ask(path: string, request?: object): Promise<Record<string, unknown>>;
  /** As `ask`; throws if the answer is a failure. */
  call(path: string, request?: object): Promise<Record<string, unknown>>;
  /** Names of the host's links, sorted. */
  links(): Promise<readonly string[]>;
  rules(): Promise<string>;
}

/** The type of the body of calls and answers. */
const JSON_TYPE = "application/vnd.docker.plugins.v1.2+json";

export async function dockerLab(): Promise<DockerLab> {
  await using stack = new AsyncDisposableStack();
  const heddle = stack.use(await heddleBinary());
  const dir = stack.use(tempDir("docker"));
  const host = stack.use(await testNetns());
  const socket = dir.in("plugins", "heddle.sock");
  const env = { ...plainEnv, HEDDLE_STATE_DIR: dir.in("state"), HEDDLE_RUN_DIR: dir.in("run") };
  const ask: DockerLab["ask"] = async (path, request) => {
    const response = await fetch(`http://plugin/${path}`, {
      unix: socket,
      method: "POST",
      headers: { Accept: JSON_TYPE, "Content-Type": JSON_TYPE },
      ...(request === undefined ? {} : { body: JSON.stringify(request) }),
    });
    return (await response.json()) as Record<string, unknown>;
  };
  const owned = stack.move();
  return {
    host,
    dir: dir.path,
    socket,
    heddle,
    env,
    plugin: (...args) => {
      const program = [heddle.at("heddle"), "docker-plugin", "--socket", socket, ...args];
      return startDaemon(["nsenter", `--net=${host.path}`, "--", ...program], env);
    },
    ask,
    async call(path, request) {
      const answer = await ask(path, request);
      const failure = answer["Err"] ?? answer["Error"];
      if (typeof failure === "string" && failure !== "") throw new Error(`${path}: ${failure}`);
      return answer;
    },
    links: async () =>
      (await host.exec(["ip", "-br", "link"])).stdout
        .trim()
        .split("\n")
        .map((line) => line.split(/[\s@]/)[0] ?? "")
        .toSorted(),
    rules: async () => (await host.exec(["nft", "list", "ruleset"])).stdout,
    [Symbol.asyncDispose]: async () => owned[Symbol.asyncDispose](),
  };
}

/** Docker's ID of the network that tests make. */
export const NETWORK_ID = "0f".repeat(32);
export const PORTMAP = "com.docker.network.portmap";

/** CreateNetwork as `docker network create -d heddle --subnet 10.77.0.0/24 -o …` says it. */
export const createNetwork = (options: object = {}, more: object = {}, docker: object = {}): object => ({
  NetworkID: NETWORK_ID,
  Options: {
    "com.docker.network.enable_ipv6": false,
    "com.docker.network.generic": options,
    ...docker,
  },
  IPv4Data: [
    { AddressSpace: "heddle-local", Pool: "10.77.0.0/24", Gateway: "10.77.0.1/24", AuxAddresses: {} },
  ],
  IPv6Data: [],
  ...more,
});

/** `-p HOST:CONTAINER`. */
export const binding = (HostPort: number, Port = 80, HostIP = ""): object => ({
  Proto: 6,
  IP: "",
  Port,
  HostIP,
  HostPort,
  HostPortEnd: HostPort,
});

/** A container on the network. */
export interface LabContainer {
  readonly id: string;
  readonly mac: string | undefined;
  /** The name of its interface in the host. */
  readonly link: string;
  readonly joined: JoinAnswer;
}
interface JoinAnswer {
  readonly InterfaceName: { readonly SrcName: string; readonly DstPrefix: string };
  readonly Gateway?: string;
  readonly GatewayIPv6?: string;
}

export const endpointKey = (id: string): object => ({ NetworkID: NETWORK_ID, EndpointID: id });

/** CreateEndpoint, Join, and what Docker then does by itself. Addresses have their prefix lengths. */
export async function connect(
  lab: DockerLab,
  sandbox: TestNetns,
  id: string,
  address: string,
  address6 = "",
): Promise<LabContainer> {
  const face = { Address: address, AddressIPv6: address6, MacAddress: "" };
  const made = await lab.call("NetworkDriver.CreateEndpoint", {
    ...endpointKey(id),
    Interface: face,
    Options: {},
  });
  const mac = (made["Interface"] as { readonly MacAddress?: string }).MacAddress;
  const request = { ...endpointKey(id), SandboxKey: sandbox.path, Options: {} };
  const joined = (await lab.call("NetworkDriver.Join", request)) as unknown as JoinAnswer;
  const link = joined.InterfaceName.SrcName;
  await lab.host.exec(["ip", "link", "set", link, "netns", sandbox.name, "name", "eth0"]);
  await sandbox.exec(["ip", "-batch", "-"], {
    stdin: [
      ...(mac ? [`link set eth0 address ${mac}`] : []),
      `addr add ${address} dev eth0`,
      ...(address6 ? [`addr add ${address6} dev eth0 nodad`] : []),
      "link set eth0 up",
      ...(joined.Gateway ? [`route add default via ${joined.Gateway}`] : []),
      ...(joined.GatewayIPv6 ? [`route add default via ${joined.GatewayIPv6}`] : []),
    ].join("\n"),
  });
  return { id, mac, link, joined };
}

export const publish = (lab: DockerLab, { id }: Pick<LabContainer, "id">, ...ports: readonly object[]) =>
  lab.call("NetworkDriver.ProgramExternalConnectivity", {
    ...endpointKey(id),
    Options: { [PORTMAP]: ports },
  });

/** What Docker does with a container that has ended. */
export async function disconnect(
  lab: DockerLab,
  sandbox: TestNetns,
  { id, link }: LabContainer,
): Promise<void> {
  await lab.call("NetworkDriver.RevokeExternalConnectivity", endpointKey(id));
  await lab.call("NetworkDriver.Leave", endpointKey(id));
  await sandbox.exec(["ip", "link", "set", "eth0", "netns", lab.host.name, "name", link]);
  await lab.call("NetworkDriver.DeleteEndpoint", endpointKey(id));
}

export const removeNetwork = (lab: DockerLab) =>
  lab.call("NetworkDriver.DeleteNetwork", { NetworkID: NETWORK_ID });
