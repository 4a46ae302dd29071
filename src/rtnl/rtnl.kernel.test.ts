import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { localMac } from "../net/mac.ts";
import { type NetlinkSocket, openNetlink } from "../netlink/socket.ts";
import { inNetns, openNetns } from "../sys/netns.ts";
import { describeWith } from "../testing/needs.ts";
import { type TestNetns, testNetns } from "../testing/netns.ts";
import { addAddress, listAddresses, removeAddress } from "./address.ts";
import {
  addAltName,
  createBridge,
  createVeth,
  findLink,
  getLink,
  listLinks,
  removeLink,
  setBridgePort,
  setLink,
} from "./link.ts";
import { setInetParameters } from "./link-inet.ts";
import { addRoute, appendRoute, listRoutes, lookUpRoute, removeRoute, routeProtocol } from "./route.ts";
import { cidr, ip } from "../testing/address.ts";

const mac = (n: number) => localMac(Uint8Array.of(2, 0, 0, 0, 0, n));

function refusal(work: () => unknown): NetError<"netlink/refused">["detail"] {
  try {
    work();
  } catch (e) {
    if (e instanceof NetError && e.is("netlink/refused")) return e.detail;
    throw e;
  }
  throw new Error("was not refused");
}

describeWith({ root: true, programs: ["ip"] })("rtnl on a real kernel", () => {
  let host: TestNetns;
  let container: TestNetns;
  let socket: NetlinkSocket;
  let inside: NetlinkSocket;
  const opened = new DisposableStack();

  beforeAll(async () => {
    host = await testNetns();
    container = await testNetns();
    const open = (ns: TestNetns): NetlinkSocket =>
      opened.use(inNetns(opened.use(openNetns(ns.path)), () => openNetlink("route")));
    socket = open(host);
    inside = open(container);
  });
  afterAll(async () => {
    opened.dispose();
    await host[Symbol.asyncDispose]();
    await container[Symbol.asyncDispose]();
  });

  // Tests run in any order, so that each makes links of its own.
  let made = 0;
  const newBridge = (): { name: string; index: number } => {
    const name = `br${++made}`;
    createBridge(socket, { name, mac: mac(made) });
    setLink(socket, { name }, { up: true });
    return { name, index: getLink(socket, { name }).index };
  };
  const newPair = (master?: number): { here: string; there: string } => {
    const here = `veth${++made}`;
    const there = `eth${made}`;
    using netns = openNetns(container.path);
    createVeth(
      socket,
      { name: here, mac: mac(made), up: true, mtuBytes: 1300, ...(master ? { master } : {}) },
      { name: there, mac: mac(made + 100), netnsFd: netns.fd, mtuBytes: 1300 },
    );
    return { here, there };
  };

  describe("links", () => {
    test("a bridge has the address and the size it was created with", () => {
      createBridge(socket, { name: "small", mac: mac(200), mtuBytes: 1400 });
      expect(getLink(socket, { name: "small" })).toMatchObject({
        kind: "bridge",
        mac: mac(200),
        mtuBytes: 1400,
        up: false,
      });
      setLink(socket, { name: "small" }, { up: true, promiscuous: true });
      expect(getLink(socket, { name: "small" })).toMatchObject({ up: true, promiscuous: true });
    });

    test("a pair is made in one request across two namespaces, one end a port of the bridge", () => {
      const master = newBridge().index;
      const pair = newPair(master);
      const here = getLink(socket, { name: pair.here });
      const there = getLink(inside, { name: pair.there });
      expect(here).toMatchObject({ kind: "veth", master, mtuBytes: 1300, peerIndex: there.index });
      expect(there).toMatchObject({ kind: "veth", mtuBytes: 1300, peerIndex: here.index });
    });

    test("a parameter of IPv4 is set on one link, without its file", async () => {
      const [one, other] = [newBridge().name, newBridge().name];
      const acceptLocal = async (name: string): Promise<string> =>
        (await host.exec(["cat", `/proc/sys/net/ipv4/conf/${name}/accept_local`])).stdout.trim();
      setInetParameters(socket, one, { acceptLocal: true });
      expect([await acceptLocal(one), await acceptLocal(other)]).toEqual(["1", "0"]);
      setInetParameters(socket, one, { acceptLocal: false });
      expect(await acceptLocal(one)).toBe("0");
      expect(refusal(() => setInetParameters(socket, "nobody", { acceptLocal: true })).errno).toBe("ENODEV");
    });

    test("a pair goes with one of its ends", () => {
      const { here, there } = newPair();
      expect(removeLink(socket, { name: here })).toBe(true);
      expect(findLink(inside, { name: there })).toBeUndefined();
    });

    test("an altname finds and removes a link, and no second link takes it", () => {
      const { here } = newPair();
      const altName = `heddle-test-${made}`;
      addAltName(socket, { name: here }, altName);
      expect(findLink(socket, { altName })?.name).toBe(here);
      expect(refusal(() => addAltName(socket, { name: newBridge().name }, altName)).errno).toBe("EEXIST");
      expect(removeLink(socket, { altName })).toBe(true);
      expect(findLink(socket, { name: here })).toBeUndefined();
    });

    test("port flags are set and read", () => {
      const { index } = getLink(socket, { name: newPair(newBridge().index).here });
      setBridgePort(socket, index, { hairpin: true, isolated: true });
      expect(getLink(socket, { index }).port).toMatchObject({ hairpin: true, isolated: true });
    });

    test("a name that is taken is refused with the name of the error, and the kernel's words where it has some", () => {
      const { name } = newBridge();
      expect(refusal(() => createBridge(socket, { name, mac: mac(9) }))).toEqual({
        request: `RTM_NEWLINK ${name}`,
        errno: "EEXIST",
      });
      expect(refusal(() => setLink(socket, { name }, { mtuBytes: 1_000_000 })).extack).toContain("mtu");
    });

    test("what is not there is not found, and removing it is no error", () => {
      expect(findLink(socket, { name: "nothing" })).toBeUndefined();
      expect(findLink(socket, { index: 4711 })).toBeUndefined();
      expect(removeLink(socket, { altName: "nothing" })).toBe(false);
      expect(refusal(() => getLink(socket, { name: "nothing" })).errno).toBe("ENODEV");
    });

    test("a list has every link of this namespace and none of another", () => {
      const { here, there } = newPair();
      const names = (s: NetlinkSocket): readonly string[] => listLinks(s).map((l) => l.name);
      expect(names(socket)).toContain(here);
      expect(names(socket)).not.toContain(there);
      expect(names(inside)).toContain(there);
    });
  });

  describe("addresses", () => {
    test.each(["192.168.1.1/24", "fd00:1::1/64"])(
      "%s is added once, listed by its link and removed once",
      (text) => {
        const { index } = newBridge();
        const address = cidr(text);
        const options = { dad: false, connectedRoute: true };
        expect(addAddress(socket, index, address, options)).toBe(true);
        expect(addAddress(socket, index, address, options)).toBe(false);
        expect(listAddresses(socket, index).find((a) => a.prefix.text === text)).toMatchObject({
          tentative: false,
          permanent: true,
        });
        expect(listAddresses(socket, 1).map((a) => a.prefix.text)).not.toContain(text);
        expect(removeAddress(socket, index, address)).toBe(true);
        expect(removeAddress(socket, index, address)).toBe(false);
      },
    );

    test("without a connected route there is none", () => {
      const { index } = newBridge();
      addAddress(socket, index, cidr("192.168.8.1/24"), { dad: false, connectedRoute: true });
      addAddress(socket, index, cidr("192.168.9.1/24"), { dad: false, connectedRoute: false });
      const routes = listRoutes(socket, 4).map((r) => r.dst.text);
      expect(routes).toContain("192.168.8.0/24");
      expect(routes).not.toContain("192.168.9.0/24");
    });
  });

  describe("routes", () => {
    /** A bridge with an address of its own network `10.N.0.0/24`. */
    const newNetwork = (): { oif: number; n: number } => {
      const { index } = newBridge();
      addAddress(socket, index, cidr(`10.${made}.0.1/24`), { dad: false, connectedRoute: true });
      return { oif: index, n: made };
    };

    test("keep their metric, table, source and metrics, and are removed once", () => {
      const { oif, n } = newNetwork();
      const gateway = ip(`10.${n}.0.9`);
      const plain = { dst: cidr(`172.16.${n}.0/24`), gateway, oif, mtu: 1400, advmss: 1360, priority: 7 };
      const other = { dst: cidr(`172.17.${n}.0/24`), oif, src: ip(`10.${n}.0.1`), table: 1000 };
      expect([addRoute(socket, plain), addRoute(socket, other)]).toEqual([true, true]);
      expect(addRoute(socket, plain)).toBe(false);
      const listed = listRoutes(socket, 4);
      expect(listed.find((r) => r.dst.text === plain.dst.text)).toMatchObject({ ...plain, table: 254 });
      expect(listed.find((r) => r.dst.text === other.dst.text)).toMatchObject(other);
      expect(removeRoute(socket, other)).toBe(true);
      expect(removeRoute(socket, other)).toBe(false);
    });

    test("can stand beside one another", () => {
      const { oif, n } = newNetwork();
      const to = (last: number) => ({ dst: cidr(`172.18.${n}.0/24`), gateway: ip(`10.${n}.0.${last}`), oif });
      expect([appendRoute(socket, to(8)), appendRoute(socket, to(9))]).toEqual([true, true]);
      expect(listRoutes(socket, 4).filter((r) => r.dst.text === `172.18.${n}.0/24`).length).toBe(2);
    });

    test("of several next hops are listed once for each", async () => {
      const { oif, n } = newNetwork();
      addAddress(socket, oif, cidr(`fd${n + 10}::1/64`), { dad: false, connectedRoute: true });
      const dst = cidr(`fd00:${n}::/64`);
      for (const last of [8, 9]) {
        const gateway = ip(`fd${n + 10}::${last}`);
        expect(appendRoute(socket, { dst, gateway, oif, onLink: true })).toBe(true);
        expect(appendRoute(socket, { dst, gateway, oif, onLink: true })).toBe(false);
      }
      const listed = listRoutes(socket, 6).filter((r) => r.dst.text === dst.text);
      expect(listed.map((r) => [r.oif, r.gateway?.text, r.onLink])).toEqual([
        [oif, `fd${n + 10}::8`, true],
        [oif, `fd${n + 10}::9`, true],
      ]);
      expect(removeRoute(socket, { dst, gateway: ip(`fd${n + 10}::8`), oif })).toBe(true);
      expect(listRoutes(socket, 6).filter((r) => r.dst.text === dst.text)).toHaveLength(1);
    });

    test("of IPv4 may have an IPv6 gateway", () => {
      const { oif, n } = newNetwork();
      const route = { dst: cidr(`172.20.${n}.0/24`), gateway: ip("fe80::1"), oif };
      expect(addRoute(socket, route)).toBe(true);
      expect(listRoutes(socket, 4).find((r) => r.dst.text === route.dst.text)).toMatchObject(route);
      expect(removeRoute(socket, route)).toBe(true);
    });

    test("that the kernel made are removed and put back as its own", () => {
      const { oif, n } = newNetwork();
      const found = listRoutes(socket, 4).find((r) => r.dst.text === `10.${n}.0.0/24`);
      if (found === undefined) throw new Error("no connected route");
      expect(found.protocol).toBe(routeProtocol.kernel);
      expect(removeRoute(socket, { ...found, protocol: routeProtocol.boot })).toBe(false);
      expect(removeRoute(socket, found)).toBe(true);
      expect(appendRoute(socket, found)).toBe(true);
      expect(listRoutes(socket, 4).filter((r) => r.oif === oif)).toEqual([found]);
    });

    test("are looked up as a packet would", () => {
      const { oif, n } = newNetwork();
      addRoute(socket, { dst: cidr(`172.19.${n}.0/24`), gateway: ip(`10.${n}.0.9`), oif });
      expect(lookUpRoute(socket, ip(`172.19.${n}.4`))?.gateway?.text).toBe(`10.${n}.0.9`);
      expect(lookUpRoute(socket, ip("192.0.2.1"))).toBeUndefined();
      addAddress(socket, oif, cidr(`fd19:${n}::1/64`), { dad: false, connectedRoute: true });
      addRoute(socket, { dst: cidr(`fd20:${n}::/64`), gateway: ip(`fd19:${n}::9`), oif });
      expect(lookUpRoute(socket, ip(`fd20:${n}::4`))).toMatchObject({ oif, table: 254 });
      expect(lookUpRoute(socket, ip("2001:db8::1"))).toBeUndefined();
    });
  });

  test("a list longer than one answer is whole", () => {
    const options = { dad: false, connectedRoute: true };
    for (let i = 0; i < 100; i++) addAddress(socket, 1, cidr(`127.1.0.${i}/32`), options);
    for (let i = 0; i < 900; i++) addRoute(socket, { dst: cidr(`10.200.${i >> 8}.${i & 255}/32`), oif: 1 });
    expect(listAddresses(socket, 1).filter((a) => a.prefix.text.startsWith("127.1.")).length).toBe(100);
    expect(listRoutes(socket, 4).filter((r) => r.dst.text.startsWith("10.200.")).length).toBe(900);
  });
});
