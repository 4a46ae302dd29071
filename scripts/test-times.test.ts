import { expect, test } from "bun:test";
import { showSlowest, timesIn } from "./test-times.ts";

const REPORT = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="bun test" tests="3" failures="0" time="9.5">
  <testsuite name="src/a.test.ts" file="src/a.test.ts" tests="1" time="0.4" hostname="h">
    <testsuite name="part" file="src/a.test.ts" line="2" tests="1" time="300" hostname="h">
      <testcase name="is &quot;so&quot;" file="src/a.test.ts" line="3" time="0.4" />
    </testsuite>
  </testsuite>
  <testsuite name="test/b.test.ts" file="test/b.test.ts" tests="2" failures="0" time="12.6" hostname="h">
  </testsuite>
</testsuites>`;

test("a report tells how long each file took, and the slowest come first", () => {
  expect(timesIn(REPORT)).toEqual([
    { file: "test/b.test.ts", seconds: 12.6 },
    { file: "src/a.test.ts", seconds: 0.4 },
  ]);
  expect(showSlowest(timesIn(REPORT))).toBe("test/b.test.ts 13 s, src/a.test.ts 0 s");
  expect(timesIn("")).toEqual([]);
});
