import { describe, expect, test } from "bun:test";
import { draw, type Port } from "./drawing.ts";

const port = (n: number, container: string): Port => ({
  hostLink: `veth0000000${n}`,
  container,
  link: "eth0",
  mac: `02:00:00:00:00:0${n}`,
  addresses: [`10.244.10.${n}/24`],
  routes: ["default via 10.244.10.1"],
});
const bridge = { name: "mynet", mac: "02:00:00:00:00:01", addresses: ["10.244.10.1/24"] };

describe("draw", () => {
  test("leads a line from the bridge to each container", () => {
    const drawn = draw({
      bridge,
      ports: [port(2, "blue"), port(3, "green")],
      mappings: ["127.0.0.1:9090/tcp → 10.244.10.2:80"],
    });
    expect(drawn).toBe(
      `
┌──────────────────────────────────────────────────────┐
│ the host                                             │
│ 127.0.0.1:9090/tcp → 10.244.10.2:80                  │
│                                                      │
│ mynet  02:00:00:00:00:01  10.244.10.1/24             │
│ └──────────┬────────────────────────────┐            │
│      veth00000002                 veth00000003       │
└────────────┬────────────────────────────┬────────────┘
             │                            │
┌────────────┴────────────┐  ┌────────────┴────────────┐
│ blue                    │  │ green                   │
│ eth0  02:00:00:00:00:02 │  │ eth0  02:00:00:00:00:03 │
│ 10.244.10.2/24          │  │ 10.244.10.3/24          │
│ default via 10.244.10.1 │  │ default via 10.244.10.1 │
└─────────────────────────┘  └─────────────────────────┘
`.trim(),
    );
  });

  test("is as wide as its widest line, whoever has it", () => {
    const long = "a mapping that is much longer than the box of the one container below it";
    const [top = "", ...rest] = draw({ bridge, ports: [port(2, "blue")], mappings: [long] }).split("\n");
    expect(top).toHaveLength(long.length + 4);
    expect(rest.slice(0, 6).map((line) => line.length)).toEqual(Array(6).fill(top.length));
  });

  test("shows a bridge without containers", () => {
    expect(draw({ bridge, ports: [], mappings: [] })).toContain("mynet  02:00:00:00:00:01  10.244.10.1/24");
  });
});
