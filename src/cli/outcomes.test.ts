import { expect, test } from "bun:test";
import { attachmentKey } from "../cni/attachments.ts";
import { NetError } from "../errors.ts";
import { outcomeJson } from "./outcomes.ts";

const whose = { network: "net", containerId: "c1", ifname: "eth0" };

test("what was done is told by key, network, container and interface, without a sentence", () => {
  expect(outcomeJson({ ...whose, what: "container c1", plugin: "bridge", failure: undefined })).toEqual({
    key: attachmentKey(whose),
    ...whose,
    plugin: "bridge",
    ok: true,
  });
});

test("what failed has the error object of the specification, with its number and our code", () => {
  const failure = new NetError("sys/call", { call: "open", on: "/x", errno: "EACCES" });
  const { error, ...told } = outcomeJson({ ...whose, what: "container c1", failure });
  expect(told).toEqual({ key: attachmentKey(whose), ...whose, ok: false });
  expect(error).toMatchObject({
    code: 5,
    msg: expect.stringContaining("EACCES") as string,
    details: expect.stringMatching(/^sys\/call /) as string,
  });
});

test("what a network has for itself has no key, and says which link it was", () => {
  const of = { network: "net", containerId: "", ifname: "", link: "br0" };
  expect(outcomeJson({ ...of, what: "a bridge", failure: undefined })).toEqual({
    key: null,
    ...of,
    ok: true,
  });
});
