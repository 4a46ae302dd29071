/**
 * A small network of namespaces for tests with real packets: a host with a bridge, two containers on it, and a neighbour
 * of the host that knows no way to the containers. Servers answer with their name and the address that they saw.
 *
 *     outside 192.0.2.2 ── 192.0.2.1 host 10.99.0.1 (br0) ─┬─ one 10.99.0.2
 *             2001:db8::2 ── 2001:db8::1  fd00:99::1       └─ two 10.99.0.3
 */
import { type TestNetns, testNetns } from "./netns.ts";
import { patience } from "./slowdown.ts";

export interface SmallNet extends AsyncDisposable {
  readonly host: TestNetns;
  readonly one: TestNetns;
  readonly two: TestNetns;
  readonly outside: TestNetns;
  /** Starts a TCP server that says `NAME saw ADDRESS` to everyone; it ends with the network. */
  serve(where: TestNetns, name: string, address: string, port: number): Promise<void>;
}

/** Connects and returns what the server says, or why there is no answer: `timeout`, or the name of the error. */
export async function ask(from: TestNetns, address: string, port: number): Promise<string> {
  const { stdout } = await from.exec([process.execPath, "-e", CLIENT, address, String(port)]);
  return stdout.replaceAll("::ffff:", "");
}

const CLIENT = `
  const [address, port] = process.argv.slice(-2);
  const { promise, resolve } = Promise.withResolvers();
  // A dropped packet is answered by nobody: half a second is long on one machine. After three the kernel would report
  // an address that nobody answers for.
  const timer = setTimeout(() => resolve("timeout"), ${patience(500, 2_500)});
  let text = "";
  Bun.connect({ hostname: address, port: Number(port), socket: {
    data: (_, b) => { text += b.toString(); }, close: () => resolve(text), error: (_, e) => resolve(e.code),
    connectError: (_, e) => resolve(e.code) } }).catch((e) => resolve(e.code));
  process.stdout.write(await promise);
  process.exit(0);`;

const SERVER = `
  const [name, address, port] = process.argv.slice(-3);
  Bun.listen({ hostname: address, port: Number(port), socket: {
    open: (s) => { s.end(name + " saw " + s.remoteAddress); }, data: () => {} } });
  console.log("ready");`;

export async function smallNet(): Promise<SmallNet> {
  const stack = new AsyncDisposableStack();
  const [host, one, two, outside] = await Promise.all([testNetns(), testNetns(), testNetns(), testNetns()]);
  for (const n of [host, one, two, outside]) stack.use(n);
  // Neighbours cannot be asked for while a link-local address is still being checked for duplicates.
  for (const n of [host, one, two, outside])
    await n.exec(["sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"]);
  const batch = ["ip", "-batch", "-"];
  await host.exec(batch, {
    stdin: [
      "link add br0 type bridge",
      `link add v1 type veth peer name eth0 netns ${one.name}`,
      `link add v2 type veth peer name eth0 netns ${two.name}`,
      `link add uplink type veth peer name eth0 netns ${outside.name}`,
      "link set v1 master br0 up",
      "link set v1 type bridge_slave hairpin on",
      "link set v2 master br0 up",
      "link set v2 type bridge_slave hairpin on",
      "link set br0 up",
      "link set uplink up",
      "addr add 10.99.0.1/24 dev br0",
      "addr add fd00:99::1/64 dev br0 nodad",
      "addr add 192.0.2.1/24 dev uplink",
      "addr add 2001:db8::1/64 dev uplink nodad",
    ].join("\n"),
  });
  const addresses = [
    [one, "10.99.0.2/24", "fd00:99::2/64", "10.99.0.1", "fd00:99::1"],
    [two, "10.99.0.3/24", "fd00:99::3/64", "10.99.0.1", "fd00:99::1"],
    [outside, "192.0.2.2/24", "2001:db8::2/64", undefined, undefined],
  ] as const;
  for (const [netns, four, six, gateway4, gateway6] of addresses)
    await netns.exec(batch, {
      stdin: [
        "link set eth0 up",
        `addr add ${four} dev eth0`,
        `addr add ${six} dev eth0 nodad`,
        ...(gateway4 ? [`route add default via ${gateway4}`, `route add default via ${gateway6}`] : []),
      ].join("\n"),
    });
  await host.exec([
    "sysctl",
    "-qw",
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv4.conf.br0.route_localnet=1",
  ]);
  // Where the br_netfilter module is loaded, bridged frames would pass the host's rules as well.
  const bridged = ["net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-ip6tables=0"];
  await host.exec(["sysctl", "-qw", ...bridged], { mustSucceed: false });
  return {
    host,
    one,
    two,
    outside,
    serve: async (where, name, address, port) => {
      const server = stack.use(where.start([process.execPath, "-e", SERVER, name, address, String(port)]));
      await server.printed("ready");
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
