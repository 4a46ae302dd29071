import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { parseIp, parsePrefix, type Ip, type IpPrefix } from "../net/ip.ts";
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
import { addRoute, appendRoute, listRoutes, lookUpRoute, removeRoute } from "./route.ts";

const ip = (s: string): Ip => {
  const parsed = parseIp(s);
  if (!parsed.ok) throw new Error(parsed.why);
  return parsed.value;
};
const cidr = (s: string): IpPrefix => {
  const parsed = parsePrefix(s);
  if (!parsed.ok) throw new Error(parsed.why);
  return parsed.value;
};
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

  describe("links", () => {
    test("a bridge has the address it was created with and keeps it when ports come", () => {
      createBridge(socket, { name: "br0", mac: mac(1), mtuBytes: 1400 });
      expect(getLink(socket, { name: "br0" })).toMatchObject({
        kind: "bridge",
        mac: mac(1),
        mtuBytes: 1400,
        up: false,
      });
      setLink(socket, { name: "br0" }, { up: true, promiscuous: true });
      expect(getLink(socket, { name: "br0" })).toMatchObject({ up: true, promiscuous: true });
    });

    test("a pair is made in one request across two namespaces, one end a port of the bridge", () => {
      using netns = openNetns(container.path);
      const master = getLink(socket, { name: "br0" }).index;
      createVeth(
        socket,
        { name: "veth0", mac: mac(2), master, up: true, mtuBytes: 1300 },
        { name: "eth0", mac: mac(3), netnsFd: netns.fd, mtuBytes: 1300 },
      );
      const here = getLink(socket, { name: "veth0" });
      const there = getLink(inside, { name: "eth0" });
      expect(here).toMatchObject({
        kind: "veth",
        mac: mac(2),
        master,
        mtuBytes: 1300,
        peerIndex: there.index,
      });
      expect(there).toMatchObject({ kind: "veth", mac: mac(3), mtuBytes: 1300, peerIndex: here.index });
    });

    test("an altname finds and removes a link, and no second link takes it", () => {
      addAltName(socket, { name: "veth0" }, "heddle-test-1");
      expect(findLink(socket, { altName: "heddle-test-1" })?.name).toBe("veth0");
      expect(refusal(() => addAltName(socket, { name: "br0" }, "heddle-test-1")).errno).toBe("EEXIST");
    });

    test("port flags are set and read", () => {
      const { index } = getLink(socket, { name: "veth0" });
      setBridgePort(socket, index, { hairpin: true, isolated: true });
      expect(getLink(socket, { index }).port).toMatchObject({ hairpin: true, isolated: true });
    });

    test("a name that is taken is refused with the name of the error, and the kernel's words where it has some", () => {
      expect(refusal(() => createBridge(socket, { name: "br0", mac: mac(9) }))).toEqual({
        request: "RTM_NEWLINK br0",
        errno: "EEXIST",
      });
      expect(refusal(() => setLink(socket, { name: "br0" }, { mtuBytes: 1_000_000 })).extack).toContain(
        "mtu",
      );
    });

    test("what is not there is not found, and removing it is no error", () => {
      expect(findLink(socket, { name: "nothing" })).toBeUndefined();
      expect(findLink(socket, { index: 4711 })).toBeUndefined();
      expect(removeLink(socket, { altName: "nothing" })).toBe(false);
      expect(refusal(() => getLink(socket, { name: "nothing" })).errno).toBe("ENODEV");
    });

    test("a list has every link of this namespace and none of another", () => {
      expect(listLinks(socket).map((l) => l.name)).toEqual(["lo", "br0", "veth0"]);
      expect(listLinks(inside).map((l) => l.name)).toEqual(["lo", "eth0"]);
    });
  });

  describe("addresses", () => {
    test("are added once, listed by link and removed once", () => {
      const { index } = getLink(socket, { name: "br0" });
      for (const text of ["10.1.0.1/24", "fd00:1::1/64"]) {
        const address = cidr(text);
        expect(addAddress(socket, index, address, { dad: false, connectedRoute: true })).toBe(true);
        expect(addAddress(socket, index, address, { dad: false, connectedRoute: true })).toBe(false);
        expect(listAddresses(socket, index).find((a) => a.prefix.text === text)).toMatchObject({
          tentative: false,
          permanent: true,
        });
      }
      expect(
        listAddresses(socket, getLink(socket, { name: "lo" }).index).map((a) => a.prefix.text),
      ).not.toContain("10.1.0.1/24");
      expect(removeAddress(socket, index, cidr("fd00:1::1/64"))).toBe(true);
      expect(removeAddress(socket, index, cidr("fd00:1::1/64"))).toBe(false);
    });

    test("without a connected route there is none", () => {
      const { index } = getLink(socket, { name: "br0" });
      addAddress(socket, index, cidr("10.9.0.1/24"), { dad: false, connectedRoute: false });
      const routes = listRoutes(socket, 4).map((r) => r.dst.text);
      expect(routes).toContain("10.1.0.0/24");
      expect(routes).not.toContain("10.9.0.0/24");
    });
  });

  describe("routes", () => {
    test("keep their metric, table, source and metrics", () => {
      const oif = getLink(socket, { name: "br0" }).index;
      const plain = {
        dst: cidr("10.2.0.0/16"),
        gateway: ip("10.1.0.9"),
        oif,
        mtu: 1400,
        advmss: 1360,
        priority: 7,
      };
      const other = { dst: cidr("10.3.0.0/16"), oif, src: ip("10.1.0.1"), table: 1000 };
      expect([addRoute(socket, plain), addRoute(socket, other)]).toEqual([true, true]);
      expect(addRoute(socket, plain)).toBe(false);
      const listed = listRoutes(socket, 4);
      expect(listed.find((r) => r.dst.text === "10.2.0.0/16")).toMatchObject({ ...plain, table: 254 });
      expect(listed.find((r) => r.dst.text === "10.3.0.0/16")).toMatchObject(other);
    });

    test("can stand beside one another", () => {
      const oif = getLink(socket, { name: "br0" }).index;
      const second = { dst: cidr("10.2.0.0/16"), gateway: ip("10.1.0.8"), oif, priority: 7 };
      expect(appendRoute(socket, second)).toBe(true);
      expect(listRoutes(socket, 4).filter((r) => r.dst.text === "10.2.0.0/16").length).toBe(2);
    });

    test("are looked up as a packet would", () => {
      expect(lookUpRoute(socket, ip("10.2.3.4"))?.gateway?.text).toBe("10.1.0.9");
      expect(lookUpRoute(socket, ip("192.0.2.1"))).toBeUndefined();
    });

    test("are removed once", () => {
      const oif = getLink(socket, { name: "br0" }).index;
      const other = { dst: cidr("10.3.0.0/16"), oif, table: 1000 };
      expect(removeRoute(socket, other)).toBe(true);
      expect(removeRoute(socket, other)).toBe(false);
    });
  });

  test("a pair goes with one of its ends", () => {
    expect(removeLink(socket, { altName: "heddle-test-1" })).toBe(true);
    expect(findLink(inside, { name: "eth0" })).toBeUndefined();
  });

  test("a list longer than one answer is whole", () => {
    for (let i = 0; i < 100; i++)
      addAddress(socket, 1, cidr(`127.1.0.${i}/32`), { dad: false, connectedRoute: true });
    for (let i = 0; i < 900; i++) addRoute(socket, { dst: cidr(`10.200.${i >> 8}.${i & 255}/32`), oif: 1 });
    expect(listAddresses(socket, 1).filter((a) => a.prefix.text.startsWith("127.1.")).length).toBe(100);
    expect(listRoutes(socket, 4).filter((r) => r.dst.text.startsWith("10.200.")).length).toBe(900);
  });
});
