import { describe, expect, test } from "bun:test";
import { portVlansOf, rangesOf } from "./bridge-vlan.ts";

describe("ranges of VLANs", () => {
  test("are the two ends of each run of neighbours", () => {
    expect(rangesOf([5, 7, 8, 9, 11])).toEqual([
      { flags: 0, vid: 5 },
      { flags: 8, vid: 7 },
      { flags: 16, vid: 9 },
      { flags: 0, vid: 11 },
    ]);
    expect(rangesOf([])).toEqual([]);
  });
  test("of a trunk with everything fit into one message", () => {
    expect(rangesOf(Array.from({ length: 4094 }, (_, i) => i + 1))).toHaveLength(2);
  });
  test.each([[[]], [[1]], [[1, 2]], [[4, 5, 6, 4094]]])("of %j are read as these again", (vlans) => {
    expect(portVlansOf(rangesOf(vlans)).tagged).toEqual(vlans);
  });
});

describe("the VLANs of a port", () => {
  test("are the native one and the tagged ones", () => {
    const { native, tagged, all } = portVlansOf([
      { flags: 2 | 4, vid: 1 },
      { flags: 8, vid: 10 },
      { flags: 16, vid: 12 },
    ]);
    expect({ native, tagged, all: [...all] }).toEqual({
      native: 1,
      tagged: [10, 11, 12],
      all: [1, 10, 11, 12],
    });
  });
  test("that no configuration asks for count as members alone", () => {
    // An untagged range, and a native VLAN whose frames go out with their tag.
    const found = portVlansOf([
      { flags: 8 | 4, vid: 2 },
      { flags: 16 | 4, vid: 3 },
      { flags: 2, vid: 9 },
    ]);
    expect([found.native, found.tagged, [...found.all]]).toEqual([undefined, [], [2, 3, 9]]);
  });
});
