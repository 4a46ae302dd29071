import { describe, expect, test } from "bun:test";
import { NetError } from "../../../errors.ts";
import { confOf, key } from "../../../testing/ipam.ts";
import { demand } from "../decode.ts";
import { clientIdOf, clientOf, parseConfig, parseForRemoval } from "./config.ts";

const parse = (ipam: object) => parseConfig(confOf({ type: "dhcp", ...ipam }));
const client = (ipam: object, args = "") => clientOf(demand(parse(ipam).wishes), "net", key("c1"), args);
const text = (s: string): string => Buffer.from(s).toString("hex");
const refusal = (work: () => unknown): readonly [string, unknown] => {
  try {
    work();
  } catch (e) {
    if (e instanceof NetError) return [e.code, "field" in e.detail ? e.detail.field : e.detail];
    throw e;
  }
  return ["taken", ""];
};

describe("the configuration of dhcp", () => {
  test("has defaults for everything", () => {
    const { socketPath, wishes } = parse({});
    expect(socketPath).toBe("/run/cni/dhcp.sock");
    expect(demand(wishes)).toEqual({
      families: [4],
      provide: [],
      request: [121, 1, 3, 6, 15, 26, 33, 42, 51, 54, 58, 59, 119],
    });
    expect(parse({ daemonSocketPath: "" }).socketPath).toBe("/run/cni/dhcp.sock");
  });

  test("asks for more, or for nothing else", () => {
    const request = (list: readonly object[]) => demand(parse({ request: list }).wishes).request;
    expect(request([{ option: "12" }]).at(-1)).toBe(12);
    expect(request([{ option: "3" }])).toHaveLength(13);
    expect(request([{ option: "routers", skipDefault: true }])).toEqual([3]);
    expect(request([{ skipDefault: true }])).toEqual([]);
    expect(request([{ option: "0" }, { option: "255", skipDefault: true }])).toEqual([]);
  });

  test("knows the reference's names of options", () => {
    const names = [
      "subnet-mask",
      "routers",
      "host-name",
      "user-class",
      "vendor-class-identifier",
      "dhcp-client-identifier",
    ];
    const request = names.map((option) => ({ option, skipDefault: true }));
    expect(demand(parse({ request }).wishes).request).toEqual([1, 3, 12, 77, 60, 61]);
  });

  test.each<[string, object, string]>([
    ["an unknown option", { provide: [{ option: "hostname", value: "a" }] }, "ipam.provide[0].option"],
    ["an option above 255", { request: [{ option: "256" }] }, "ipam.request[0].option"],
    ["an option with a sign", { request: [{ option: "-1" }] }, "ipam.request[0].option"],
    ["an option as a number", { request: [{ option: 12 }] }, "ipam.request[0].option"],
    ["no option to ask for", { request: [{}] }, "ipam.request[0].option"],
    ["no option to send", { provide: [{ value: "a" }] }, "ipam.provide[0].option"],
    ["nothing to send", { provide: [{ option: "12" }] }, "ipam.provide[0]"],
    [
      "a value of 256 bytes",
      { provide: [{ option: "12", value: "x".repeat(256) }] },
      "ipam.provide[0].value",
    ],
    ["the type of the message", { provide: [{ option: "53", value: "a" }] }, "ipam.provide[0].option"],
    ["the end of the options", { provide: [{ option: "255", value: "a" }] }, "ipam.provide[0].option"],
    ["a negative metric", { priority: -1 }, "ipam.priority"],
    ["a metric of 33 bits", { priority: 2 ** 32 }, "ipam.priority"],
    ["an unknown family", { families: ["ipx"] }, "ipam.families[0]"],
    ["no family", { families: [] }, "ipam.families"],
    ["a relative path", { daemonSocketPath: "run/dhcp.sock" }, "ipam.daemonSocketPath"],
    ["provide that is no list", { provide: {} }, "ipam.provide"],
    [
      "skipDefault as text",
      { request: [{ option: "3", skipDefault: "yes" }] },
      "ipam.request[0].skipDefault",
    ],
  ])("is refused with %s", (_, ipam, field) => {
    expect(refusal(() => parse(ipam))).toEqual(["config/invalid", field]);
  });

  test("may have become invalid by the time of DEL, but for where the daemon is", () => {
    const removal = (ipam: object) => parseForRemoval(confOf({ type: "dhcp", ...ipam }));
    expect(removal({ provide: 5, daemonSocketPath: "/x" }).socketPath).toBe("/x");
    expect(refusal(() => removal({ daemonSocketPath: "x" }))).toEqual([
      "config/invalid",
      "ipam.daemonSocketPath",
    ]);
  });
});

describe("what the client says of itself", () => {
  test("is who the attachment is, as the reference says it", () => {
    expect(client({}).id).toBe(`00${text("c1/net/eth0")}`);
    expect(clientIdOf("n", key("c".repeat(300)))).toBe(`00${text("c".repeat(254))}`);
  });

  test("is what the configuration provides, from CNI_ARGS where it is there", () => {
    const provide = [
      { option: "host-name", value: "usual", fromArg: "POD" },
      { option: "60", value: "heddle" },
      { option: "15", fromArg: "DOMAIN" },
    ];
    expect(client({ provide }).options).toEqual([
      [12, text("usual")],
      [60, text("heddle")],
    ]);
    expect(client({ provide }, "POD=web;OTHER=1;DOMAIN=a.b").options).toEqual([
      [12, text("web")],
      [60, text("heddle")],
      [15, text("a.b")],
    ]);
  });

  test("has a user class with its length (RFC 3004)", () => {
    expect(client({ provide: [{ option: "user-class", value: "abc" }] }).options).toEqual([[77, "03616263"]]);
  });

  test("may be another identifier, as it is written", () => {
    const said = client({ provide: [{ option: "dhcp-client-identifier", value: "me" }] });
    expect([said.id, said.options]).toEqual([text("me"), []]);
  });

  test("does not go beyond what an option holds", () => {
    const long = "x".repeat(256);
    expect(refusal(() => client({ provide: [{ option: "12", fromArg: "A" }] }, `A=${long}`))[0]).toBe(
      "config/invalid",
    );
    expect(refusal(() => client({ provide: [{ option: "77", value: "x".repeat(255) }] }))).toEqual([
      "config/invalid",
      "ipam.provide[0]",
    ]);
    expect(refusal(() => client({}, "broken"))[0]).toBe("env/invalid");
  });
});
