import { describe, expect, test } from "bun:test";
import { type ErrorCode, NetError } from "../errors.ts";
import { joinCniArgs, parseCniArgs, splitCniArgs } from "./args.ts";
import { cniCode, errorText, toErrorJson } from "./errors.ts";
import { checkContainerId, checkIfName, checkNetworkName } from "./validate.ts";

const outcome = (run: () => unknown): number | "accepted" => {
  try {
    run();
    return "accepted";
  } catch (e) {
    return cniCode(e);
  }
};

describe("names from outside", () => {
  const long = "x".repeat(300);
  test.each([
    ["", 3],
    ["a", "accepted"],
    ["1234_.-ABC", "accepted"],
    [long, "accepted"],
    [".a", 4],
    ["-a", 4],
    ["_a", 4],
    ["a b", 4],
    ["a/b", 4],
    ["..", 4],
    ["a\n", 4],
    ["a\0", 4],
    ["ä", 4],
  ] as const)("container ID %j", (id, expected) => {
    expect(outcome(() => checkContainerId(id))).toBe(expected);
  });

  test.each([
    ["", 7],
    ["a", "accepted"],
    ["my.net_1-x", "accepted"],
    [".net", 7],
    ["a/b", 7],
    ["../a", 7],
    ["a b", 7],
    ["a\n", 7],
  ] as const)("network name %j", (name, expected) => {
    expect(outcome(() => checkNetworkName(name))).toBe(expected);
  });

  test.each([
    ["", 4],
    ["eth0", "accepted"],
    ["eth0.1@x", "accepted"],
    ["123456789012345", "accepted"],
    ["1234567890123456", 4],
    ["ääääääää", 4],
    [".", 4],
    ["..", 4],
    ["...", "accepted"],
    ["a/b", 4],
    ["a:b", 4],
    ["a b", 4],
    ["a\tb", 4],
    ["a\u00a0b", 4],
    ["a\u0085b", 4],
    ["a\u3000b", 4],
  ] as const)("interface name %j", (name, expected) => {
    expect(outcome(() => checkIfName(name))).toBe(expected);
  });
});

describe("CNI_ARGS", () => {
  test("nothing holds nothing", () => {
    expect(parseCniArgs("", ["IP"])).toEqual({});
  });

  test("gives the known keys, the last of a repeated one", () => {
    expect(parseCniArgs("IP=10.0.0.1;MAC=aa;IP=10.0.0.2", ["IP", "MAC", "GATEWAY"])).toEqual({
      IP: "10.0.0.2",
      MAC: "aa",
    });
  });

  test.each(["1", "true", "TRUE"])(
    "passes over unknown keys when IgnoreUnknown is %s, wherever it stands",
    (value) => {
      const text = `K8S_POD_NAME=x;IP=10.0.0.1;IgnoreUnknown=${value}`;
      expect(parseCniArgs(text, ["IP"])).toEqual({ IP: "10.0.0.1" });
    },
  );

  test.each([
    ["an unknown key", "foo=bar"],
    ["an unknown key that is not to be ignored", "IgnoreUnknown=0;foo=bar"],
    ["an unknown key with IgnoreUnknown in another case", "ignoreunknown=1"],
    ["a known key in another case", "ip=10.0.0.1"],
    ["a switch that is none", "IgnoreUnknown=maybe"],
    ["a semicolon at the end", "IP=10.0.0.1;"],
    ["an equals sign in the value", "IP=a=b"],
    ["no equals sign", "IP"],
  ])("refuses %s with code 4", (_, text) => {
    expect(outcome(() => parseCniArgs(text, ["IP"]))).toBe(4);
  });

  test("splitting and joining are each other's reverse", () => {
    const text = "A=1;B=;C=x y";
    expect(joinCniArgs(splitCniArgs(text))).toBe(text);
  });
});

describe("error numbers", () => {
  const cases: [NetError, number][] = [
    [new NetError("version/incompatible", { wanted: "x", supported: [] }), 1],
    [new NetError("version/conversion", { from: "a", to: "b", why: "w" }), 1],
    [new NetError("config/unsupported", { field: "f", value: "v", why: "w" }), 2],
    [new NetError("container/unknown", { why: "w" }), 3],
    [new NetError("env/invalid", { variables: ["V"], why: "w" }), 4],
    [new NetError("sys/call", { call: "open", on: "/x", errno: "EIO" }), 5],
    [new NetError("decode/malformed", { what: "x", why: "w" }), 6],
    [new NetError("config/invalid", { field: "f", why: "w" }), 7],
    [new NetError("prev-result/invalid", { why: "w" }), 7],
    [new NetError("netns/invalid", { path: "/x", why: "w" }), 8],
    [new NetError("try-again", { why: "w" }), 11],
    [new NetError("status/unavailable", { why: "w" }), 50],
    [new NetError("status/limited", { why: "w" }), 51],
    [new NetError("attachment/live", { containerId: "c", ifname: "i", network: "n" }), 101],
    [new NetError("port/taken", { port: "p", owner: "o" }), 102],
    [new NetError("check/differs", { what: "x", wanted: "a", found: "b" }), 103],
    [new NetError("resource/exists", { what: "x", where: "y" }), 104],
    [new NetError("plugin/failed", { type: "t", command: "add", code: 42, msg: "m", details: "d" }), 42],
  ];
  test.each(cases.map(([e, n]) => [e.code, n, e] as const))(
    "%s is %i, with a message and details",
    (code, n, e) => {
      const json = toErrorJson(e, "1.0.0");
      expect(json).toMatchObject({ cniVersion: "1.0.0", code: n, msg: e.message });
      expect(json.details).not.toBe("");
      expect(e.is(code satisfies ErrorCode)).toBe(true);
    },
  );

  test("an error without a code is 999", () => {
    expect(toErrorJson(new Error("potato"), "0.4.0")).toEqual({
      cniVersion: "0.4.0",
      code: 999,
      msg: "potato",
      details: "Error",
    });
    expect(toErrorJson("text", "0.4.0")).toMatchObject({ code: 999, msg: "text" });
  });

  test("several failures have the number of the first that has one, and every message once", () => {
    const several = new AggregateError([
      new Error("untyped"),
      new AggregateError([new NetError("try-again", { why: "later" }), new Error("untyped")]),
    ]);
    expect(cniCode(several)).toBe(11);
    expect(errorText(several)).toBe("untyped; later");
  });

  test("details name the causes", () => {
    const e = new NetError(
      "try-again",
      { why: "later" },
      { cause: new Error("disk", { cause: new Error("cable") }) },
    );
    expect(toErrorJson(e, "1.0.0").details).toBe(
      'try-again {"why":"later"}; caused by disk; caused by cable',
    );
  });
});
