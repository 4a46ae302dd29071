import { describe, expect, test } from "bun:test";
import type { Plugin } from "../cni/plugin.ts";
import { confOf } from "../testing/plan.ts";
import { optionPaths } from "./options.ts";
import { pluginTypes, registry } from "./registry.ts";

/** Values that no option takes, one at a time. */
const broken: readonly unknown[] = [{ type: 5 }, { type: ["x"] }, 5, "\u0000", [[]], true, { IPAM: 1 }];
/** A daemon's path that cannot be one fails DEL: another daemon must not be asked. */
const refusesByIntent = (type: string): boolean => type === "dhcp";

describe.each(pluginTypes.filter((type) => !refusesByIntent(type)).map((type) => [type]))(
  "the configuration of %s that DEL and GC get",
  (type) => {
    test("can be read whatever became of any of its options", async () => {
      const plugin: Plugin = await registry[type].load();
      const keys = new Set([
        "ipam",
        ...optionPaths(plugin.options).map((path) => path.split(/[.[]/)[0] ?? ""),
      ]);
      const read = plugin.parseForRemoval ?? plugin.parse;
      const refused = [...keys].flatMap((key) =>
        broken.flatMap((value) => {
          try {
            read(confOf(type, { [key]: value }));
            return [];
          } catch (e) {
            return [`${key} ${JSON.stringify(value)}: ${String(e)}`];
          }
        }),
      );
      expect(refused).toEqual([]);
    });
  },
);
