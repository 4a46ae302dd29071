/**
 * Real connections through a network that was just attached, as lines that say who was seen by whom: the meaning of
 * firewall rules, whatever they are written in.
 */
import { run } from "../../src/testing/run.ts";
import { inside, seenFrom } from "../../src/testing/traffic.ts";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import type { CniHost } from "../../src/testing/cni-host.ts";
import type { Json } from "./networks.ts";

/** A neighbour of the host that knows the way back to containers; `ipamOf` routes to its networks. */
const neighbour = { v4: "203.0.113.2", v6: "2001:db8::2" } as const;
const self = { v4: "203.0.113.1", v6: "2001:db8::1" } as const;

export async function outsideOf(host: CniHost): Promise<TestNetns> {
  const outside = await testNetns();
  const link = ["type", "veth", "peer", "name", "eth0", "netns", outside.name];
  await host.exec(["ip", "link", "add", "uplink", ...link]);
  await host.exec(["ip", "-batch", "-"], {
    stdin: `addr add ${self.v4}/24 dev uplink\naddr add ${self.v6}/32 dev uplink nodad\nlink set uplink up\n`,
  });
  await outside.exec(["ip", "-batch", "-"], {
    stdin: [
      "link set eth0 up",
      `addr add ${neighbour.v4}/24 dev eth0`,
      `addr add ${neighbour.v6}/32 dev eth0 nodad`,
      `route add 10.96.0.0/24 via ${self.v4}`,
      `route add fd96::/64 via ${self.v6}`,
    ].join("\n"),
  });
  return outside;
}

const TENTATIVE_MS = 5_000;

/**
 * Waits until the kernel has found nobody else with an address of the host or of the container. Before that nothing is
 * sent from it; ours leaves that out where nobody else can be, which is compared by the parameters.
 */
async function settled(places: readonly string[]): Promise<void> {
  const deadline = performance.now() + TENTATIVE_MS;
  const show = ["ip", "-6", "address", "show", "tentative"];
  for (const place of places)
    while ((await run([...inside(place), ...show])).stdout !== "" && performance.now() < deadline)
      await Bun.sleep(50);
}

/** What a line says of a connection without an answer. */
export const NOTHING_PASSES = "nothing passes";

interface Place {
  readonly host: string;
  readonly container: string;
  readonly outside: string;
}
interface Mapping {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: string;
}

/**
 * Connections in all directions, each to a server of its own on a port of its own; `silenceMs` says after how long nothing
 * passes.
 */
export async function trafficOf(
  on: Place,
  result: Json,
  mappings: readonly Mapping[],
  silenceMs: number | undefined,
): Promise<readonly string[]> {
  const addresses = ((result["ips"] ?? []) as readonly Json[]).map(
    ({ address }) => String(address).split("/")[0] ?? "",
  );
  await settled([on.host, on.container]);
  const lines = addresses.map(async (address, i): Promise<readonly string[]> => {
    const family = address.includes(":") ? "v6" : "v4";
    const port = 8000 + i * 10;
    const seen = (
      from: string,
      by: string,
      asked: string,
      at: number,
      listen = { address: asked, port: at },
    ) => seenFrom(from, by, asked, at, listen, silenceMs);
    const tcp = mappings.filter((m) => m.protocol === "tcp");
    const probes: readonly (readonly [string, Promise<string | undefined>])[] = [
      ["host to container", seen(on.host, on.container, address, port)],
      ["outside to container", seen(on.outside, on.container, address, port + 1)],
      ["container to outside", seen(on.container, on.outside, neighbour[family], port + 2)],
      ...tcp.map(
        ({ hostPort, containerPort }) =>
          [
            `outside to host port ${hostPort}`,
            seen(on.outside, on.container, self[family], hostPort, { address, port: containerPort }),
          ] as const,
      ),
    ];
    return Promise.all(
      probes.map(async ([what, who]) => `${what}, ${family}: ${(await who) ?? NOTHING_PASSES}`),
    );
  });
  return (await Promise.all(lines)).flat();
}
