import { describe, expect, test } from "bun:test";
import { localMac } from "../net/mac.ts";
import { openNetlink } from "../netlink/socket.ts";
import { stringify } from "../netstate/state-json.ts";
import { inNetns, openNetns } from "../sys/netns.ts";
import { type KernelFeature } from "../testing/features.ts";
import { onKernelWith } from "../testing/needs.ts";
import { ip } from "../testing/address.ts";
import { type TestNetns, testNetns } from "../testing/netns.ts";
import { createLink } from "./create-link.ts";
import { linkTypeOf, type LinkType } from "./kinds.ts";
import { createVeth, getLink, removeLink } from "./link.ts";

const mac = (n: number) => localMac(Uint8Array.of(2, 0, 0, 0, 0, n));

/** What the `ip` program says of it. */
async function shown(netns: TestNetns, name: string): Promise<unknown> {
  const { stdout } = await netns.exec(["ip", "-json", "-details", "link", "show", name]);
  const [link] = JSON.parse(stdout) as readonly { readonly linkinfo: object }[];
  return link?.linkinfo;
}

interface Case {
  readonly type: LinkType;
  /** Whether it stands on another link. */
  readonly upon?: boolean;
  /** Parameters as the `ip` program names them. */
  readonly data?: object;
}
const cases: Readonly<Partial<Record<KernelFeature, readonly Case[]>>> = {
  macvlan: (["private", "vepa", "bridge", "passthru"] as const).map((mode) => ({
    type: { kind: "macvlan", mode, broadcastQueueLength: 2000 },
    upon: true,
    data: { mode, bcqueuelen: 2000 },
  })),
  macvtap: (["private", "vepa", "bridge", "passthru"] as const).map((mode) => ({
    type: { kind: "macvtap", mode, broadcastQueueLength: 1000 },
    upon: true,
    data: { mode },
  })),
  ipvlan: (["l2", "l3", "l3s"] as const).map((mode) => ({
    type: { kind: "ipvlan", mode },
    upon: true,
    data: { mode },
  })),
  vlan: [0, 1, 4094].map((id) => ({
    type: { kind: "vlan", id },
    upon: true,
    data: { protocol: "802.1Q", id },
  })),
  vrf: [1, 4_294_967_295].map((table) => ({ type: { kind: "vrf", table }, data: { table } })),
  vxlan: [
    {
      type: {
        kind: "vxlan",
        id: 16_777_215,
        port: 4789,
        local: ip("192.0.2.1"),
        ttl: 7,
        learning: false,
        gbp: true,
        l2miss: true,
        l3miss: true,
        udpChecksum: false,
        udp6ZeroChecksumSend: false,
        udp6ZeroChecksumReceive: false,
      },
      data: { id: 16_777_215, port: 4789, local: "192.0.2.1", ttl: 7, learning: false, gbp: true },
    },
    {
      type: {
        kind: "vxlan",
        id: 1,
        port: 8472,
        local: ip("2001:db8::1"),
        group: ip("2001:db8::2"),
        ttl: 0,
        learning: true,
        gbp: false,
        l2miss: false,
        l3miss: false,
        udpChecksum: true,
        udp6ZeroChecksumSend: true,
        udp6ZeroChecksumReceive: true,
      },
      data: { id: 1, port: 8472, local6: "2001:db8::1", remote6: "2001:db8::2", learning: true },
    },
  ],
  ipip: [
    {
      type: { kind: "ipip", local: ip("192.0.2.1"), ttl: 0, pathMtuDiscovery: true },
      data: { proto: "ipip", remote: "any", local: "192.0.2.1", pmtudisc: true },
    },
  ],
  dummy: [{ type: { kind: "dummy" } }],
  ifb: [{ type: { kind: "ifb" } }],
};

describe("createLink", () => {
  for (const [feature, list = []] of Object.entries(cases))
    onKernelWith([feature as KernelFeature], () => {
      test.each(list.map((one) => [stringify(one.type), one] as const))(
        "makes %s, and it is read back so",
        async (_, { type, upon, data }) => {
          await using netns = await testNetns();
          using handle = openNetns(netns.path);
          using socket = inNetns(handle, () => openNetlink("route"));
          const there = { name: "other", mac: mac(2), netnsFd: handle.fd };
          createVeth(socket, { name: "lower", mac: mac(1) }, there);
          const lowerIndex = getLink(socket, { name: "lower" }).index;
          createLink(socket, { name: "upper", type, ...(upon === true ? { lowerIndex } : {}) });
          expect(linkTypeOf(getLink(socket, { name: "upper" }))).toEqual(type);
          expect(await shown(netns, "upper")).toMatchObject({
            info_kind: type.kind,
            ...(data === undefined ? {} : { info_data: data }),
          });
          expect(removeLink(socket, { name: "upper" })).toBeTrue();
        },
      );
    });
});
