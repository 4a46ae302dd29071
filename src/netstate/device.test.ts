import { expect } from "bun:test";
import type { IfName } from "../net/ifname.ts";
import { testWith } from "../testing/needs.ts";
import { namedDevice, readDevice } from "./device.ts";

const software = { wireless: false, virtualFunction: false };

testWith({})("a link is known by its name, and by its index only where sysfs shows its namespace", () => {
  expect(namedDevice("lo" as IfName)).toEqual(software);
  expect(namedDevice("hdl-none" as IfName)).toBeUndefined();
  expect(readDevice({ name: "lo", index: 1 })).toEqual(software);
  expect(readDevice({ name: "lo", index: 99_999 })).toBeUndefined();
});
