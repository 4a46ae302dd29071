import { describe, expect, test } from "bun:test";
import { fabricNode, hostFacts, subnets, vxlanData } from "../../testing/fabric.ts";
import type { Vxlan } from "../../rtnl/kinds/vxlan.ts";
import { kernelTransport } from "./transports.ts";

const host = hostFacts({ at4: "192.0.2.1" });
const view = {
  network: subnets({ v4: "10.0.0.0/8" }),
  self: fabricNode("self", { v4: "10.0.1.0/24", at4: "192.0.2.1", backend: vxlanData(1) }),
  peers: [],
};
const counting = (bytes: Uint8Array): Uint8Array => bytes.map((_, i) => i + 16);
const vxlan = (options: Record<string, unknown>) => {
  const transport = kernelTransport({ type: "vxlan", options }, counting);
  const link = transport?.desired(view, host).state.links[0];
  return { name: link?.name, mtu: transport?.mtuBytes(host), ...(link?.type as Vxlan) };
};

describe("the options of vxlan", () => {
  test("are flanneld's by default", () => {
    expect(vxlan({})).toMatchObject({
      name: "flannel.1",
      mtu: 1450,
      id: 1,
      port: 8472,
      gbp: false,
      learning: false,
    });
  });

  test("are read in any case, and unknown ones ignored", () => {
    expect(
      vxlan({ vni: 77, PORT: 4789, gbp: true, Learning: true, MTU: 1400, Name: "windows", Other: [] }),
    ).toMatchObject({ name: "flannel.77", mtu: 1350, id: 77, port: 4789, gbp: true, learning: true });
  });

  test.each([
    [{ VNI: 16_777_216 }, "Backend.VNI: 16777216 is not within 0 and 16777215"],
    [{ VNI: "1" }, 'Backend.VNI: must be a whole number, not the string "1"'],
    [{ Port: 65_536 }, "Backend.Port: 65536 is not within 0 and 65535"],
    [{ GBP: 1 }, "Backend.GBP: must be true or false, not the number 1"],
    [{ DirectRouting: "yes" }, 'Backend.DirectRouting: must be true or false, not the string "yes"'],
    [{ MTU: -1 }, "Backend.MTU: -1 is not within 0 and 65535"],
    [{ MacPrefix: "0E2A" }, 'Backend.MacPrefix: "0E2A" is not two bytes, as "0E-2A"'],
    [
      { MacPrefix: "01-2A" },
      'Backend.MacPrefix: "01-2A" begins addresses of groups: the first byte must be even',
    ],
  ])("%j is refused", (options, why) => {
    expect(() => vxlan(options)).toThrow(why);
  });

  test("a hardware address is drawn by chance, or with a beginning that was asked for", () => {
    const announced = (options: object) =>
      kernelTransport({ type: "vxlan", options: options as never }, counting)?.announce(host, undefined)?.v4;
    expect(announced({})).toEqual({ VNI: 1, VtepMAC: "12:11:12:13:14:15" });
    expect(announced({ MacPrefix: "0E-2A" })).toEqual({ VNI: 1, VtepMAC: "0e:2a:12:13:14:15" });
  });
});

test.each(["host-gw", "ipip", "alloc", "vxlan"])("there is a transport %s", (type) => {
  expect(kernelTransport({ type, options: {} })?.type).toBe(type);
});

test("a backend that is none of the kernel's is somebody else's", () => {
  expect(kernelTransport({ type: "udp", options: {} })).toBeUndefined();
});
