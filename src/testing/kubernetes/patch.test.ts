import { describe, expect, test } from "bun:test";
import type { Json } from "./json.ts";
import { jsonPatch, mergePatch, strategicMergePatch } from "./patch.ts";
import { listBy, object, set, text, union } from "./schema.ts";

describe("a merge patch", () => {
  // RFC 7386, appendix A.
  test.each<readonly [Json, Json, Json]>([
    [{ a: "b" }, { a: "c" }, { a: "c" }],
    [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
    [{ a: "b" }, { a: null }, {}],
    [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }],
    [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
    [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
    [
      ["a", "b"],
      ["c", "d"],
      ["c", "d"],
    ],
    [{ a: "b" }, ["c"], ["c"]],
    [{ a: "foo" }, null, null],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: "b", c: null }, { a: "b" }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])("turns %j by %j into %j", (target, patch, result) => {
    expect(mergePatch(target, patch)).toEqual(result);
  });
});

describe("a JSON patch", () => {
  // RFC 6902, appendix A, and what lies beside it.
  test.each<readonly [Json, Json, Json]>([
    [{ a: 1 }, [{ op: "add", path: "/b", value: 2 }], { a: 1, b: 2 }],
    [{ a: [1, 3] }, [{ op: "add", path: "/a/1", value: 2 }], { a: [1, 2, 3] }],
    [{ a: [1] }, [{ op: "add", path: "/a/-", value: [2] }], { a: [1, [2]] }],
    [{ a: 1, b: 2 }, [{ op: "remove", path: "/b" }], { a: 1 }],
    [{ a: [1, 2, 3] }, [{ op: "remove", path: "/a/1" }], { a: [1, 3] }],
    [{ a: 1 }, [{ op: "replace", path: "/a", value: 2 }], { a: 2 }],
    [{ a: { b: 1 }, c: {} }, [{ op: "move", from: "/a/b", path: "/c/d" }], { a: {}, c: { d: 1 } }],
    [{ a: [1, 2, 3] }, [{ op: "move", from: "/a/0", path: "/a/2" }], { a: [2, 3, 1] }],
    [{ a: 1 }, [{ op: "copy", from: "/a", path: "/b" }], { a: 1, b: 1 }],
    [{ "a/b": 1, "c~d": 2 }, [{ op: "replace", path: "/a~1b", value: 3 }], { "a/b": 3, "c~d": 2 }],
    [{ "~1": 1 }, [{ op: "test", path: "/~01", value: 1 }], { "~1": 1 }],
    [{ a: 1 }, [{ op: "add", path: "", value: { b: 2 } }], { b: 2 }],
  ])("turns %j by %j into %j", (target, patch, result) => {
    expect(jsonPatch(target, patch)).toEqual(result);
  });

  test.each<readonly [Json, Json]>([
    [{ a: 1 }, [{ op: "remove", path: "/b" }]],
    [{ a: 1 }, [{ op: "replace", path: "/b", value: 1 }]],
    [{ a: 1 }, [{ op: "add", path: "/b/c", value: 1 }]],
    [{ a: [1] }, [{ op: "add", path: "/a/2", value: 1 }]],
    [{ a: [1] }, [{ op: "add", path: "/a/01", value: 1 }]],
    [{ a: [1] }, [{ op: "remove", path: "/a/-" }]],
    [{ a: 1 }, [{ op: "test", path: "/a", value: "1" }]],
    [{ a: 1 }, [{ op: "add", path: "b", value: 1 }]],
    [{ a: 1 }, [{ op: "add", path: "/b" }]],
    [{ a: 1 }, [{ op: "merge", path: "/a", value: 1 }]],
    [{ a: 1 }, { op: "remove", path: "/a" }],
    [{ a: 1 }, [{ op: "remove", path: "" }]],
  ])("refuses for %j what cannot be: %j", (target, patch) => {
    expect(() => jsonPatch(target, patch)).toThrow();
  });

  test("leaves what it was given as it was", () => {
    const target = { a: [1, 2], b: { c: 1 } };
    jsonPatch(target, [
      { op: "add", path: "/a/0", value: 0 },
      { op: "remove", path: "/b/c" },
    ]);
    expect(target).toEqual({ a: [1, 2], b: { c: 1 } });
  });
});

describe("a strategic merge patch", () => {
  const schema = object({
    conditions: listBy("type", object({ type: text, status: text, reason: text })),
    finalizers: set(text),
    volume: union({ name: text, hostPath: text, secret: text }),
    labels: { kind: "map", of: text },
    taints: { kind: "list", of: object({ key: text }) },
  });
  const apply = (target: Json, patch: Json): Json => strategicMergePatch(schema, target, patch);

  test("joins a list by the key of its items, and replaces one without", () => {
    const before = { conditions: [{ type: "A", status: "0", reason: "x" }], taints: [{ key: "a" }] };
    const patch = {
      conditions: [
        { type: "B", status: "1" },
        { type: "A", status: "2" },
      ],
      taints: [{ key: "b" }],
    };
    expect(apply(before, patch)).toEqual({
      conditions: [
        { type: "A", status: "2", reason: "x" },
        { type: "B", status: "1" },
      ],
      taints: [{ key: "b" }],
    });
  });

  test("takes out items, or all that were there, if it says so", () => {
    const before = { conditions: [{ type: "A" }, { type: "B" }] };
    expect(apply(before, { conditions: [{ $patch: "delete", type: "A" }] })).toEqual({
      conditions: [{ type: "B" }],
    });
    expect(apply(before, { conditions: [{ type: "C" }, { $patch: "replace" }] })).toEqual({
      conditions: [{ type: "C" }],
    });
    expect(apply(before, { $patch: "replace", labels: { a: "b" } })).toEqual({ labels: { a: "b" } });
  });

  test("puts items into the order that it tells", () => {
    const before = { conditions: [{ type: "A" }, { type: "B" }, { type: "C" }] };
    const patch = {
      conditions: [{ type: "D" }],
      "$setElementOrder/conditions": [{ type: "D" }, { type: "C" }, { type: "A" }],
    };
    expect(apply(before, patch)).toEqual({
      conditions: [{ type: "D" }, { type: "C" }, { type: "A" }, { type: "B" }],
    });
  });

  test("joins sets of plain values, and takes values out of them", () => {
    const before = { finalizers: ["a", "b"] };
    expect(apply(before, { finalizers: ["b", "c"] })).toEqual({ finalizers: ["a", "b", "c"] });
    expect(apply(before, { "$deleteFromPrimitiveList/finalizers": ["a"] })).toEqual({ finalizers: ["b"] });
  });

  test("takes keys out by null, and the other members of a union", () => {
    expect(apply({ labels: { a: "1", b: "2" } }, { labels: { a: null } })).toEqual({ labels: { b: "2" } });
    const before = { volume: { name: "v", hostPath: "/a" } };
    const patch = { volume: { $retainKeys: ["name", "secret"], secret: "s" } };
    expect(apply(before, patch)).toEqual({ volume: { name: "v", secret: "s" } });
  });

  test("is refused without the key, or with a directive that nobody knows", () => {
    expect(() => apply({}, { conditions: [{ status: "1" }] })).toThrow("merge key: type");
    expect(() => apply({}, { $patch: "forget" })).toThrow("Unknown patch type");
  });
});
