import { expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import { descriptorCensus, strayThreads } from "./census.ts";
import { whyNot } from "./needs.ts";

test.skipIf(whyNot({}) !== undefined)("descriptorCensus names a descriptor that was left open", () => {
  let fd = -1;
  expect(() => {
    using _ = descriptorCensus();
    fd = openSync("/dev/null", "r");
  }).toThrow("/dev/null");
  closeSync(fd);
});

test.skipIf(whyNot({}) !== undefined)("descriptorCensus is content when everything was closed", () => {
  using _ = descriptorCensus();
  closeSync(openSync("/dev/null", "r"));
  expect(strayThreads()).toEqual([]);
});
