import { describe, expect, test } from "bun:test";
import { fabricNode, hostFacts, subnets } from "../../testing/fabric.ts";
import type { BackendData, View } from "../model.ts";
import { extensionTransport, SAID_LIMIT } from "./extension.ts";

const transport = extensionTransport();
const self = fabricNode("self", { v4: "10.244.1.0/24", at4: "192.0.2.1" });
const at = (backend: BackendData, words = { v4: "10.244.2.0/24", at4: "192.0.2.2" }) =>
  fabricNode("10.244.2.0-24", { ...words, backend });
const viewOf = (...peers: View["peers"]): View => ({
  network: subnets({ v4: "10.244.0.0/16" }),
  self,
  peers,
});
const host = hostFacts({ at4: "192.0.2.1" });

describe("extension", () => {
  test("wants nothing of the kernel, and gives commands what peers say", () => {
    const view = viewOf(at({ type: "extension", v4: "8e:5f:0c:2b:7a:41" }));
    const { state, troubles } = transport.desired(view, host);
    expect([Object.values(state).flat(), troubles]).toEqual([[], []]);
    expect(transport.peers(view)).toEqual([
      {
        id: "10.244.2.0-24",
        values: {
          NETWORK: "10.244.0.0/16",
          IPV6NETWORK: "",
          SUBNET: "10.244.2.0/24",
          IPV6SUBNET: "",
          PUBLIC_IP: "192.0.2.2",
          PUBLIC_IPV6: "",
        },
        data: "8e:5f:0c:2b:7a:41",
      },
    ]);
    expect(transport.peers(view)).toBe(transport.peers(view));
    expect(transport.peers({ ...view })[0]).toBe(transport.peers(view)[0] as never);
  });

  test.each([
    ["nothing", {}, ""],
    ["null, as on a node of Kubernetes", { v4: null }, ""],
    ["what a command printed", { v4: "$(reboot)\n\0" }, "$(reboot)\n\0"],
  ])("takes %s", (_, data, said) => {
    expect(transport.peers(viewOf(at({ type: "extension", ...data })))[0]?.data).toBe(said);
  });

  test.each([
    ["another backend", { type: "vxlan" }, "backend-other"],
    ["an object", { type: "extension", v4: { a: 1 } }, "backend-malformed"],
    ["a number", { type: "extension", v4: 1 }, "backend-malformed"],
    ["a long text", { type: "extension", v4: "x".repeat(SAID_LIMIT + 1) }, "backend-malformed"],
  ])("leaves out a node with %s", (_, backend, code) => {
    const view = viewOf(at(backend));
    expect(transport.desired(view, host).troubles).toMatchObject([{ code, node: "10.244.2.0-24" }]);
    expect(transport.peers(view)).toEqual([]);
  });

  test("tells what was printed as flanneld does", () => {
    expect(transport.telling(undefined)).toEqual({ type: "extension" });
    expect(transport.telling("")).toEqual({ type: "extension", v4: "" });
    expect(transport.telling("x")).toEqual({ type: "extension", v4: "x" });
    expect(transport.mtuBytes(host)).toBe(1500);
  });
});
