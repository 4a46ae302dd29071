/** Who reaches a container's web page (`image.ts`), and as whom: from the ground, from a container, from elsewhere. */
import { plainEnv, run } from "../../src/testing/run.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import type { Ground } from "./ground.ts";
import { WHO } from "./image.ts";

/** The ground's address on the network that it shares with `outside`, and the address of that machine. */
export const UPLINK = { ground: "192.0.2.1", outside: "192.0.2.2" } as const;

/** Asks until somebody listens; who does not answer at all is asked once. */
const CLIENT = `const [url, refusedMs, silentMs] = process.argv.slice(1);
for (const deadline = performance.now() + Number(refusedMs);; await Bun.sleep(10))
  try {
    process.stdout.write(await (await fetch(url, { signal: AbortSignal.timeout(Number(silentMs)) })).text());
    break;
  } catch (e) {
    if (e.name === "TimeoutError" || performance.now() > deadline) { console.error(String(e)); process.exit(1); }
  }`;

/** A machine on the ground's uplink, with a default route over the ground. */
export async function outside(on: Ground): Promise<TestNetns> {
  const machine = await testNetns();
  const batch = (lines: readonly string[]) => ({ stdin: `${lines.join("\n")}\n` });
  const pair = `link add up0 type veth peer name up1 netns /run/netns/${machine.name}`;
  await run(["nsenter", `--net=${on.net}`, "--", "ip", "-batch", "-"], {
    stdin: [pair, "link set up0 up", `address add ${UPLINK.ground}/24 dev up0`, ""].join("\n"),
  });
  await machine.exec(
    ["ip", "-batch", "-"],
    batch([
      "link set up1 up",
      `address add ${UPLINK.outside}/24 dev up1`,
      `route add default via ${UPLINK.ground}`,
    ]),
  );
  return machine;
}

/**
 * What the page at this address says to who asks from the namespace at the path `from`: by default the address that it
 * sees. Undefined if nothing answers.
 */
export async function asked(
  from: string,
  address: string,
  port: number,
  page = WHO,
): Promise<string | undefined> {
  const host = address.includes(":") ? `[${address}]` : address;
  const limits = [patience(5_000), patience(1_500, 2_500)].map(String);
  const argv = [process.execPath, "-e", CLIENT, `http://${host}:${port}${page}`, ...limits];
  const { code, stdout } = await run(["nsenter", `--net=${from}`, "--", ...argv], {
    env: plainEnv,
    mustSucceed: false,
  });
  // The web server writes addresses of IPv4 as those of its socket, which is one of IPv6.
  return code === 0 ? stdout.trim().replace(/^\[(?:::ffff:)?(.*)\]$/, "$1") : undefined;
}
