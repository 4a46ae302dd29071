import { describe, expect, test } from "bun:test";
import { readGolden } from "../testing/golden.ts";
import { featureAttrs } from "./ethtool.ts";
import { familyAttrs, genericAnswer, genericRequest } from "./family.ts";

const [family] = readGolden(new URL("golden/family.txt", import.meta.url));
const [features] = readGolden(new URL("golden/features.txt", import.meta.url));
const bodyOf = (capture: typeof family): Uint8Array => capture?.bytes ?? new Uint8Array(0);

describe("generic netlink", () => {
  test("a family is told with its name and number", () => {
    expect(genericAnswer({ body: bodyOf(family) }, familyAttrs)).toMatchObject({
      id: Number(family?.expect),
      name: "nlctrl",
      version: 2,
    });
  });

  test("a request begins with the command and the version, and keeps its reserved bytes zero", () => {
    const request = genericRequest(16, { number: 3, name: "CTRL_CMD_GETFAMILY" }, familyAttrs, {
      name: "nlctrl",
    });
    expect(request.body.toHex()).toBe(["03010000", "0b000200", "6e6c6374726c0000"].join(""));
    expect(request.type).toBe(16);
  });
});

describe("features of a link", () => {
  const answer = genericAnswer({ body: bodyOf(features) }, featureAttrs);
  const names = (set: typeof answer.active): readonly (string | undefined)[] =>
    (set?.bits ?? []).map((b) => b.name);

  test("those that are on stand in a list without a mask", () => {
    expect(answer.header?.device).toBe("lo");
    expect(answer.active?.noMask).toBe(true);
    expect(names(answer.active)).toContain("tx-udp-segmentation");
    expect(names(answer.active)).not.toContain("rx-lro");
  });

  test("those that can be changed are marked, in a list with a mask", () => {
    const changeable = answer.hardware?.bits?.filter((b) => b.value).map((b) => b.name);
    expect(changeable).toContain("rx-gro");
    expect(changeable).not.toContain("loopback");
  });

  test("an answer that is read and written again says the same", () => {
    expect(featureAttrs.decode(featureAttrs.encode(answer))).toEqual(answer);
  });
});
