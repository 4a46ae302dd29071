import { describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { cniRequest, containerIdOf } from "./cni-request.ts";

const SHA512_PREFIX = "a145bc1ace582bff43bd";
const request = (env: Record<string, string>, ifname?: string) =>
  cniRequest("net", "/run/netns/a", ifname, env);

describe("cniRequest", () => {
  test("without variables uses the defaults of cnitool", () => {
    expect(request({})).toMatchObject({
      network: "net",
      netns: "/run/netns/a",
      ifname: "eth0",
      confDir: "/etc/cni/net.d",
      path: "",
    });
    expect(request({})).not.toContainAnyKeys(["args", "capabilityArgs"]);
  });

  test("reads every variable", () => {
    const env = {
      CNI_PATH: "/a:/b",
      NETCONFPATH: "/conf",
      CAP_ARGS: '{"portMappings":[{"hostPort":80}]}',
      CNI_ARGS: "IgnoreUnknown=1;K=V",
      CNI_IFNAME: "net1",
    };
    expect(request(env)).toMatchObject({
      ifname: "net1",
      confDir: "/conf",
      path: "/a:/b",
      args: [
        ["IgnoreUnknown", "1"],
        ["K", "V"],
      ],
      capabilityArgs: { portMappings: [{ hostPort: 80 }] },
    });
  });

  test("the option wins over CNI_IFNAME, and an empty option does not", () => {
    expect(request({ CNI_IFNAME: "net1" }, "net2").ifname).toBe("net2");
    expect(request({ CNI_IFNAME: "net1" }, "").ifname).toBe("net1");
  });

  test("an empty variable counts as absent", () => {
    expect(request({ CNI_IFNAME: "", NETCONFPATH: "", CNI_ARGS: "", CAP_ARGS: "" }).ifname).toBe("eth0");
  });

  test.each([
    ["CNI_ARGS without =", { CNI_ARGS: "K" }],
    ["CNI_ARGS with an empty value", { CNI_ARGS: "K=" }],
    ["CNI_ARGS with an empty key", { CNI_ARGS: "=V" }],
    ["CNI_ARGS with a semicolon at the end", { CNI_ARGS: "K=V;" }],
    ["CAP_ARGS that is not JSON", { CAP_ARGS: "{" }],
    ["CAP_ARGS that is not an object", { CAP_ARGS: "[1]" }],
  ])("refuses %s, naming the variable", (_, env) => {
    const [variable = ""] = Object.keys(env);
    expect(() => request({ ...env })).toThrow(NetError);
    expect(() => request({ ...env })).toThrow(variable);
  });

  test("the container id is that of cnitool: of the absolute path, whatever way it was written", () => {
    // printf %s /run/netns/a | sha512sum | head -c 20
    expect(containerIdOf("/run/netns/a")).toBe(`cnitool-${SHA512_PREFIX}`);
    const ids = ["/run/netns/a", "/run/netns/./a", "/run/../run/netns/a/"].map(
      (netns) => cniRequest("net", netns, undefined, {}).containerId,
    );
    expect(new Set(ids)).toEqual(new Set([`cnitool-${SHA512_PREFIX}`]));
  });

  test("a relative namespace path is taken from the working directory", () => {
    expect(cniRequest("net", "a", undefined, {}).netns).toBe(`${process.cwd()}/a`);
  });
});
