/** A host where netavark's calls are made without netavark: what tests of the plugin work on that need no Podman. */
import { type CniHost, cniHost } from "../../src/testing/cni-host.ts";
import type { HeddleBinary } from "../../src/testing/executable.ts";

export interface NetavarkLab extends AsyncDisposable {
  readonly host: CniHost;
  /** Calls as netavark does; the answer, whatever it says. */
  ask(words: readonly string[], input: object): Promise<NetavarkAnswer>;
  /** As `ask`; throws if the answer is a failure. */
  call(words: readonly string[], input: object): Promise<unknown>;
  /** Names of the host's links, sorted. */
  links(): Promise<readonly string[]>;
}
export interface NetavarkAnswer {
  readonly code: number;
  /** What was printed, if it is JSON. */
  readonly json: unknown;
}

/** Sets it up; bind it with `await using`. */
export async function netavarkLab(heddle: HeddleBinary): Promise<NetavarkLab> {
  await using made = new AsyncDisposableStack();
  const host = made.use(await cniHost(heddle));
  const ask: NetavarkLab["ask"] = async (words, input) => {
    const { code, stdout } = await host.cli(words, {}, [], JSON.stringify(input));
    return { code, json: stdout === "" ? undefined : (JSON.parse(stdout) as unknown) };
  };
  const kept = made.move();
  return {
    host,
    ask,
    call: async (words, input) => {
      const { code, json } = await ask(words, input);
      if (code !== 0) throw new Error(`${words.join(" ")}: ${JSON.stringify(json)}`);
      return json;
    },
    links: async () =>
      (await host.exec(["ip", "-br", "link"])).stdout
        .trim()
        .split("\n")
        .map((line) => line.split(/[\s@]/)[0] ?? "")
        .toSorted(),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

export const NETWORK = "web";
/** A network as `create` leaves it: in mode bridge on `web0`. */
export const network = (options: object = {}, more: object = {}) => ({
  name: NETWORK,
  id: "0f".repeat(32),
  driver: "heddle",
  network_interface: "web0",
  subnets: [{ subnet: "10.77.0.0/24", gateway: "10.77.0.1" }],
  ipv6_enabled: false,
  internal: false,
  dns_enabled: false,
  ipam_options: { driver: "host-local" },
  options,
  ...more,
});

/** What comes with `setup` and `teardown` for a container of this name and address. */
export const connection = (containerId: string, ip: string, of: object = network(), more: object = {}) => ({
  container_id: containerId,
  container_name: containerId,
  port_mappings: [],
  network: of,
  network_options: { aliases: [], interface_name: "eth0", static_ips: [ip], static_mac: null },
  ...more,
});
