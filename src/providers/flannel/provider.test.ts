import { describe, expect, test } from "bun:test";
import { fabricNode, hostFacts } from "../../testing/fabric.ts";
import { cidr } from "../../testing/address.ts";
import { furtherUdpDevice } from "../../fabric/transport/udp.ts";
import { type FlannelNetwork, readNetwork, subnetEnvOf } from "./provider.ts";

const CONFIG = { Network: "10.244.0.0/16", Backend: { Type: "host-gw" } };
const read = (config: object | string, blackholeRoute = false) =>
  readNetwork(typeof config === "string" ? config : JSON.stringify(config), { blackholeRoute });

function good(config: object, blackholeRoute = false): FlannelNetwork {
  const network = read(config, blackholeRoute);
  if (!network.ok) throw new Error(network.why);
  return network.value;
}

describe("readNetwork", () => {
  test("makes of a network's configuration its transport and its addresses", () => {
    const { whole, transport } = good({ ...CONFIG, EnableIPv6: true, IPv6Network: "fd00:10::/48" });
    expect([transport.type, whole.v4?.text, whole.v6?.text]).toEqual([
      "host-gw",
      "10.244.0.0/16",
      "fd00:10::/48",
    ]);
  });

  test.each([
    ["broken JSON", "{", "the network configuration"],
    ["a backend that nobody knows", { ...CONFIG, Backend: { Type: "carrier-pigeon" } }, "carrier-pigeon"],
    ["an option of the backend out of its range", { ...CONFIG, Backend: { Type: "vxlan", VNI: -1 } }, "VNI"],
    [
      "a family that the backend does not carry",
      { ...CONFIG, EnableIPv6: true, IPv6Network: "fd00:10::/48", Backend: { Type: "ipip" } },
      "carries no IPv6",
    ],
    ["no network", { Backend: { Type: "vxlan" } }, "Network"],
  ])("says why it cannot use %s", (_, config, why) => {
    const network = read(config);
    expect(network.ok ? "" : network.why).toContain(why);
  });

  const dual = { EnableIPv6: true, IPv6Network: "fd00:10::/48" };
  test.each([
    ["vxlan", {}, 118],
    ["vxlan", dual, 1350],
    ["wireguard", {}, 148],
    ["wireguard", dual, 1360],
  ])("refuses an MTU of %s that leaves too little, with %j at less than %d", (Type, more, least) => {
    const withMtu = (MTU: number) => read({ ...CONFIG, ...more, Backend: { Type, MTU } });
    const refused = withMtu(least - 1);
    expect(refused.ok ? "" : refused.why).toContain("Backend.MTU: leaves");
    expect(withMtu(least).ok).toBe(true);
    expect(withMtu(0).ok).toBe(true);
  });

  test("gives two networks the same key if firewall and file say the same of both", () => {
    expect(good(CONFIG).key).toBe(good({ ...CONFIG, Backend: { Type: "vxlan" } }).key);
    expect(good(CONFIG).key).not.toBe(good({ ...CONFIG, EnableNFTables: true }).key);
  });

  test("tells the process of udp who it carries packets to, and the kernel that it does", () => {
    const { transport, carriage } = good({ ...CONFIG, Backend: { Type: "udp", Port: 9999 } });
    const own = fabricNode("10.244.1.0-24", { v4: "10.244.1.0/24", at4: "192.0.2.1" });
    const udp = { backend: { type: "udp" } };
    const peer = fabricNode("10.244.2.0-24", { v4: "10.244.2.0/24", at4: "192.0.2.2", ...udp });
    const view = { network: { v4: cidr("10.244.0.0/16") }, self: own, peers: [peer] };
    const host = hostFacts({ at4: "192.0.2.1" });
    const wish = carriage?.(view, host);
    expect({ ...wish, listen: wish?.listen.text, own: wish?.own.map(({ text }) => text) }).toEqual({
      device: "flannel0",
      mtuBytes: 1472,
      listen: "0.0.0.0",
      port: 9999,
      own: ["10.244.1.0"],
      peers: [{ id: peer.id, subnets: ["10.244.2.0/24"], address: "192.0.2.2", port: 9999, heddle: false }],
    });
    expect(transport.desired(view, host).state.routes).toEqual([
      { dst: cidr("10.244.0.0/16"), link: "flannel0" },
    ]);
  });

  test("has udp use the device that it is told, for the kernel and for the process", () => {
    const source = JSON.stringify({ ...CONFIG, Backend: { Type: "udp" } });
    const network = readNetwork(source, { blackholeRoute: false, udpDevice: furtherUdpDevice("second") });
    if (!network.ok) throw new Error(network.why);
    const self = fabricNode("10.244.1.0-24", { v4: "10.244.1.0/24", at4: "192.0.2.1" });
    const view = { network: { v4: cidr("10.244.0.0/16") }, self, peers: [] };
    const host = hostFacts({ at4: "192.0.2.1" });
    expect(network.value.carriage?.(view, host).device).toBe("fl0-second");
    const { addresses, routes } = network.value.transport.desired(view, host).state;
    expect([...addresses, ...routes].map(({ link }) => link)).toEqual(["fl0-second", "fl0-second"]);
    expect(furtherUdpDevice("n".repeat(80))).toMatch(/^fl0-[0-9a-f]{8}$/);
  });

  test("takes commands for a data path, in any case of their keys, and says which one needs a shell", () => {
    const Backend = {
      Type: "Extension",
      subnetaddcommand: 'ip route add "$SUBNET" via $PUBLIC_IP',
      Other: 1,
    };
    const { transport, commands } = good({ ...CONFIG, Backend });
    expect(transport.type).toBe("extension");
    expect(Object.keys(commands?.set ?? {})).toEqual(["SubnetAddCommand"]);
    const refused = (command: object): string => {
      const network = read({ ...CONFIG, Backend: { Type: "extension", ...command } });
      return network.ok ? "" : network.why;
    };
    // From flanneld's samples.
    const line =
      'export SUBNET_IP=$(echo "$SUBNET" | cut -d/ -f 1); ip addr add "${SUBNET_IP}/32" dev flannel-vxlan';
    expect(refused({ PostStartupCommand: line })).toStartWith(
      'Backend.PostStartupCommand: has "export" at character 1',
    );
    expect(refused({ PreStartupCommand: "wg genkey | tee privatekey" })).toStartWith(
      "Backend.PreStartupCommand: has | at character 11, which is a pipe to a shell",
    );
    expect(refused({ PreStartupCommand: "x $SUBNET" })).toContain("has no value for $SUBNET");
    expect(refused({ ShutdownCommand: 1 })).toContain("Backend.ShutdownCommand: must be a string");
  });

  test("ends what is for addresses that nobody has, if that is asked for", () => {
    const self = fabricNode("10.244.1.0-24", { v4: "10.244.1.0/24", at4: "192.0.2.1" });
    const routes = (network: FlannelNetwork) =>
      network.transport.desired(
        { network: network.whole, self, peers: [] },
        hostFacts({ at4: "192.0.2.1" }, () => true),
      ).state.routes;
    expect(routes(good(CONFIG))).toEqual([]);
    expect(routes(good(CONFIG, true))).toEqual([{ dst: cidr("10.244.1.0/24") }]);
  });
});

describe("subnetEnvOf", () => {
  test("tells the families that both the network and the host have", () => {
    const self = fabricNode("x", { v4: "10.244.1.0/24", v6: "fd00:10:0:1::/64", at4: "192.0.2.1" });
    const env = subnetEnvOf(good(CONFIG), self, { mtuBytes: 1450, ipMasq: true });
    expect(env).toBe(
      "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
    );
  });
});
