import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { tempDir } from "../../testing/temp-dir.ts";
import { toJson, toText } from "./finding.ts";
import { checkFile, type Source, type Surroundings } from "./network.ts";

const alone: Surroundings = {
  pluginPath: [],
  beside: () => [],
  device: () => undefined,
  uplink: () => undefined,
};

/** The findings as `line:column severity path: message`. */
async function findings(text: string, file = "x.conflist", around = alone): Promise<readonly string[]> {
  const checked = await checkFile({ file, text }, around);
  return checked.flatMap(toJson).map((f) => `${f.line}:${f.column} ${f.severity} ${f.path}: ${f.message}`);
}
/** A list with these plugins, each on a line of its own; the first is on line 2. */
const list = (...plugins: readonly (object | string)[]): string =>
  `{"cniVersion":"1.1.0","name":"net","plugins":[\n${plugins.map((p) => (typeof p === "string" ? p : JSON.stringify(p))).join(",\n")}\n]}`;

const RANGE = { subnet: "10.0.0.0/24" };
const ipam = { type: "host-local", ranges: [[RANGE]] };
const bridge = { type: "bridge", ipam };
const portmap = { type: "portmap", capabilities: { portMappings: true } };

test("nothing is found in a list that is right, whatever the case of its keys", async () => {
  expect(await findings(list(bridge, portmap))).toEqual([]);
  expect(
    await findings(list({ TYPE: "bridge", Mtu: 1400, IPAM: { Type: "host-local", SUBNET: "10.0.0.0/24" } })),
  ).toEqual([]);
});

test("a delegate is held against the plugin that it names, or bridge, but for its addresses", async () => {
  const flannel = (delegate: object): Promise<readonly string[]> =>
    findings(list({ type: "flannel", delegate }));
  expect(await flannel({ hairpinMode: true, isDefaultGateway: true, mtu: 1400 })).toEqual([]);
  expect(await flannel({ type: "ptp", ipMasq: true })).toEqual([]);
  expect(await flannel({ type: "macvlan", master: "eth0" })).toEqual([]);
  expect(await flannel({ isDefualtGateway: true, mtu: "x" })).toEqual([
    expect.stringMatching(
      /^2:\d+ error plugins\[0\]\.delegate\.isDefualtGateway: bridge has no option "isDefualtGateway".*isDefaultGateway/,
    ),
    expect.stringMatching(/^2:\d+ error plugins\[0\]\.delegate\.mtu: /),
  ]);
  expect(await flannel({ type: "brigde" })).toEqual([
    expect.stringMatching(
      /warning plugins\[0\]\.delegate\.type: .*"brigde" is not in this executable.*bridge/,
    ),
  ]);
});

describe("a master of this machine that carries no other MAC address", () => {
  const around: Surroundings = {
    ...alone,
    device: (link) => ({ wireless: link === "wlan0", virtualFunction: false, driver: "e1000e" }),
  };
  const on = (type: string, more: object, of = around): Promise<readonly string[]> =>
    findings(list({ type, ...more }), "x.conflist", of);

  test("is a warning where the plugin brings one", async () => {
    const said = [expect.stringMatching(/^2:\d+ warning plugins\[0\]\.master: master wlan0 is wireless: /)];
    expect(await on("macvlan", { master: "wlan0", ipam })).toEqual(said);
    expect(await on("macvtap", { master: "wlan0" })).toEqual(said);
  });

  test("is a warning where the default route leads by it, and no other is named", async () => {
    const wireless: Surroundings = { ...around, uplink: () => "wlan0" };
    expect(await on("macvlan", { ipam }, wireless)).toEqual([
      expect.stringMatching(/^2:\d+ warning plugins\[0\]\.type: master wlan0 is wireless: /),
    ]);
    expect(await on("macvlan", { master: "eth0", ipam }, wireless)).toEqual([]);
    expect(await on("macvlan", { linkInContainer: true, ipam }, wireless)).toEqual([]);
  });

  test("is none for a plugin that brings none, for another master, and for one in the container", async () => {
    expect(await on("ipvlan", { master: "wlan0", ipam })).toEqual([]);
    expect(await on("macvlan", { master: "eth0", ipam })).toEqual([]);
    expect(await on("macvlan", { master: "wlan0", linkInContainer: true, ipam })).toEqual([]);
    const away = await on("macvlan", { master: "../wlan0", ipam });
    expect(away.map((found) => found.split(" ")[1])).toEqual(["error"]);
  });
});

describe("a list as a whole", () => {
  test.each([
    ["", ["1:1 error : expected a value, found the end of the text"]],
    ['{\n  "name": "a" "b"}', ['2:15 error : expected "," or "}", found "\\""']],
    ["[]", ["1:1 error : must be an object"]],
    [
      '{"type":"bridge"}',
      [
        "1:1 error : this is the configuration of a single plugin, and its file's name must end in .conf or .json",
      ],
    ],
    [
      "{}",
      [
        "1:1 warning cniVersion: cniVersion: is missing, which means 0.1.0",
        "1:1 error name: name: the network name is missing",
        '1:1 error plugins: plugins: network "network" has no plugin',
      ],
    ],
    [
      '{"cniVersion":"1.1.0","name":"a b","plugins":[]}',
      [
        `1:30 error name: name: network name "a b" must begin with a letter or a digit and hold only letters, digits, '_', '.' and '-'`,
        '1:36 error plugins: plugins: network "network" has no plugin',
      ],
    ],
    [
      '{"cniVersion":"1.1.0","name":"net","plugins":{}}',
      ["1:36 error plugins: plugins: must be a list, not an object"],
    ],
    [
      '{"cniVersion":2,"name":3,"plugins":[{"type":"loopback"}]}',
      [
        "1:15 error cniVersion: cniVersion: must be a string, not the number 2",
        "1:24 error name: name: must be a string, not the number 3",
      ],
    ],
    [
      '{"cniVersion":"2.0.0","name":"net","plugins":[{"type":"loopback"}]}',
      [
        '1:15 error cniVersion: cniVersion: CNI version "2.0.0" is not supported; supported are 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0',
      ],
    ],
    [
      '{"cniVersions":["9.0.0"],"name":"net","plugins":[{"type":"loopback"}]}',
      [
        '1:2 error cniVersions: cniVersions: CNI version "9.0.0" is not supported; supported are 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0',
      ],
    ],
    [
      '{"cniVersion":"x","name":"net","plugins":[{"type":"loopback"}]}',
      ['1:15 error cniVersion: cniVersion: cniVersion: "x" is not a version of one to three numbers'],
    ],
    [
      '{"cniVersion":"1.1.0","name":"net","disableCheck":"maybe","disableGCs":true,"plugins":[{"type":"loopback"}]}',
      [
        '1:51 error disableCheck: disableCheck: must be true or false, not the string "maybe"',
        '1:59 error disableGCs: a network list has no option "disableGCs"; did you mean "disableGC"?',
      ],
    ],
    [
      '{"cniVersion":"1.1.0","name":"net","name":"net","plugins":[{"type":"loopback"}]}',
      ['1:36 error name: "name" stands here a second time'],
    ],
  ])("%s", async (text, wanted) => {
    expect(await findings(text)).toEqual([...wanted]);
  });
});

describe("an entry", () => {
  test.each([
    ["is no object", "1", ["2:1 error plugins[0]: a plugin's entry must be an object"]],
    ["has no type", {}, ["2:1 error plugins[0].type: type: must name the plugin"]],
    ["has another value as its type", { type: 1 }, ["2:9 error plugins[0].type: type: must name the plugin"]],
    [
      "is of a type that nobody knows",
      { type: "briddge", any: 1, capabilities: { x: "y" } },
      [
        '2:9 warning plugins[0].type: type: "briddge" is not in this executable, and CNI_PATH is not set; did you mean "bridge"?',
        '2:47 error plugins[0].capabilities.x: capabilities.x: must be true or false, not the string "y"',
      ],
    ],
    [
      "is of a type that cannot be a file",
      { type: "../bridge", ipam: { type: "a/b" } },
      [
        '2:9 error plugins[0].type: type: plugin type "../bridge" contains a path separator',
        '2:36 error plugins[0].ipam.type: ipam.type: plugin type "a/b" contains a path separator',
      ],
    ],
    [
      "has an unknown option",
      { type: "bridge", isGatway: true },
      ['2:18 error plugins[0].isGatway: bridge has no option "isGatway"; did you mean "isGateway"?'],
    ],
    [
      "has one option twice",
      '{"type":"bridge","mtu":1400,"MTU":1500}',
      ['2:29 error plugins[0].MTU: "MTU" is the same key as "mtu" before it'],
    ],
    [
      "has several wrong values",
      { type: "bridge", mtu: 5, bridge: "a/b", isGateway: "yes" },
      [
        "2:24 error plugins[0].mtu: mtu: 5 is not within 68 and 65535",
        expect.stringMatching(/^2:35 error plugins\[0\]\.bridge: bridge: .*"a\/b"/),
        '2:53 error plugins[0].isGateway: isGateway: must be true or false, not the string "yes"',
      ],
    ],
    [
      "has values that do not go together, and another that is wrong",
      { type: "bridge", hairpinMode: true, promiscMode: true, mtu: 1 },
      [
        "2:32 error plugins[0].hairpinMode: hairpinMode: cannot be set together with promiscMode: frames would arrive twice",
        "2:62 error plugins[0].mtu: mtu: 1 is not within 68 and 65535",
      ],
    ],
    [
      "has two pairs that do not go together",
      { type: "bridge", hairpinMode: true, promiscMode: true, disableContainerInterface: true, ipam },
      [
        expect.stringContaining("hairpinMode: cannot be set together"),
        expect.stringContaining("disableContainerInterface: cannot be set together"),
      ],
    ],
    ["lacks its ipam", { type: "ptp" }, ["2:1 error plugins[0].ipam: ipam: is missing"]],
    [
      "has an ipam without a type",
      { type: "bridge", ipam: { subnet: "10.0.0.0/24" } },
      ["2:18 error plugins[0].ipam.type: ipam.type: is missing"],
    ],
    [
      "has an ipam that is none",
      { type: "bridge", ipam: { type: "portmap" } },
      ["2:33 error plugins[0].ipam.type: ipam.type: portmap hands out no addresses"],
    ],
    [
      "has an ipam that nobody knows",
      { type: "bridge", ipam: { type: "host-locl", any: 1 } },
      [
        '2:33 warning plugins[0].ipam.type: ipam.type: "host-locl" is not in this executable, and CNI_PATH is not set; did you mean "host-local"?',
      ],
    ],
    [
      "has wrong ranges",
      {
        type: "bridge",
        ipam: {
          type: "host-local",
          ranges: [[{ ...RANGE, rangeStrt: "10.0.0.5" }], [{}, { subnet: "10.1.0.1/24" }]],
        },
      },
      [
        '2:81 error plugins[0].ipam.ranges[0][0].rangeStrt: ipam.ranges[0][0] of bridge has no option "rangeStrt"; did you mean "rangeStart"?',
        "2:107 error plugins[0].ipam.ranges[1][0].subnet: ipam.ranges[1][0].subnet: is missing",
        "2:120 error plugins[0].ipam.ranges[1][1].subnet: ipam.ranges[1][1].subnet: 10.1.0.1/24 has host bits set; the network is 10.1.0.0/24",
      ],
    ],
    [
      "has ranges that overlap",
      { type: "bridge", ipam: { type: "host-local", ranges: [[RANGE], [RANGE]] } },
      [
        "2:46 error plugins[0].ipam.ranges: ipam.ranges: range set 10.0.0.1-10.0.0.254 overlaps 10.0.0.1-10.0.0.254",
      ],
    ],
    [
      "has an ipam of its own, but needs none",
      { type: "loopback", ipam },
      ['2:20 error plugins[0].ipam: loopback has no option "ipam"'],
    ],
    [
      "wants a capability that it does not use",
      { ...bridge, capabilities: { macs: true, ips: true, portMappings: false } },
      [
        '2:101 warning plugins[0].capabilities.macs: bridge does not use the capability "macs"; did you mean "mac"?',
      ],
    ],
    [
      "has a name of its own",
      { ...bridge, name: "other", cniVersion: "1.1.0" },
      ['2:92 warning plugins[0].name: name: has no effect here; the list\'s, "net", takes its place'],
    ],
    [
      "is an IPAM plugin",
      { type: "static", ipam: { type: "static" } },
      [
        "2:9 warning plugins[0].type: type: static hands out addresses; it belongs into the ipam of another plugin",
      ],
    ],
  ] as const)("that %s", async (_, entry, wanted) => {
    expect(await findings(list(entry))).toEqual([...wanted]);
  });

  test("of another program has its ipam checked, if that is of ours", async () => {
    const theirs = { type: "theirs", any: 1, ipam: { type: "host-local", subnet: "10.0.0.0/33", more: 1 } };
    const paths = (found: readonly string[]): readonly string[] =>
      found.map((f) => f.split(" ").slice(1, 3).join(" "));
    expect(paths(await findings(list(theirs)))).toEqual([
      "warning plugins[0].type:",
      "error plugins[0].ipam.subnet:",
      "error plugins[0].ipam.more:",
    ]);
    expect(paths(await findings(list({ ...theirs, ipam: { mine: 1 } })))).toEqual([
      "warning plugins[0].type:",
    ]);
  });

  test("of another program is found in CNI_PATH", async () => {
    using dir = tempDir("validate");
    writeFileSync(dir.in("mine"), "");
    const found = await findings(list({ type: "mine", any: 1 }), "x.conflist", {
      ...alone,
      pluginPath: [dir.path],
    });
    expect(found).toEqual([
      `2:9 warning plugins[0].type: type: "mine" is not in this executable; its options are not checked (found ${dir.in("mine")})`,
    ]);
  });
});

describe("plugins together", () => {
  test("a type can stand in a list once", async () => {
    expect(
      await findings(
        list(bridge, portmap, {
          type: "heddle-chain",
          capabilities: { portMappings: true },
          plugins: [portmap],
        }),
      ),
    ).toEqual([
      "4:80 error plugins[2].plugins[0].type: type: portmap stands in the list before, and a plugin runs once for an interface; join the two entries",
    ]);
    expect(await findings(list(bridge, { type: "mine" }, { type: "mine" }))).toHaveLength(2);
  });

  test("one that works on another's result does not come first", async () => {
    expect(await findings(list(portmap, bridge))).toEqual([
      "2:9 warning plugins[0].type: type: portmap comes first, but works on what a plugin before it made",
    ]);
  });
});

describe("a chain", () => {
  const chain = (more: object, ...plugins: readonly unknown[]) => ({
    type: "heddle-chain",
    ...more,
    plugins,
  });
  test.each([
    ["that is right", chain({ capabilities: { portMappings: true } }, bridge, portmap), []],
    [
      "without a capability that a plugin wants",
      chain({ capabilities: { mac: true } }, bridge, portmap),
      [
        "2:24 error plugins[0].capabilities: capabilities: must name portMappings, which portmap in this heddle-chain wants",
      ],
    ],
    [
      "without any capabilities",
      chain({}, bridge, portmap),
      [
        "2:1 error plugins[0].capabilities: capabilities: must name portMappings, which portmap in this heddle-chain wants",
      ],
    ],
    [
      "with wrong options inside",
      chain({}, { ...bridge, mtu: "x" }, { type: "ptp" }),
      [
        '2:125 error plugins[0].plugins[0].mtu: mtu: must be a whole number, not the string "x"',
        "2:130 error plugins[0].plugins[1].ipam: ipam: is missing",
      ],
    ],
    [
      "inside a chain",
      chain({}, bridge, chain({}, bridge)),
      [
        "2:128 error plugins[0].plugins[1].type: type: a heddle-chain cannot hold another one; its plugins can stand here themselves",
      ],
    ],
    [
      "with no plugins",
      chain({}),
      ["2:24 error plugins[0].plugins: plugins: is empty; a chain needs at least one plugin"],
    ],
    [
      "with something else as plugins",
      { type: "heddle-chain", plugins: 1 },
      ["2:34 error plugins[0].plugins: plugins: must be a list, not the number 1"],
    ],
    [
      "with an option that it does not have",
      { ...chain({}, bridge), plugin: 1 },
      ['2:121 error plugins[0].plugin: heddle-chain has no option "plugin"; did you mean "plugins"?'],
    ],
  ])("%s", async (_, entry, wanted) => {
    expect(await findings(list(entry))).toEqual(wanted);
  });
});

describe("files", () => {
  test("that end in .conf or .json hold one plugin", async () => {
    const single = JSON.stringify({ cniVersion: "1.1.0", name: "net", ...bridge, mtu: 1 });
    expect(await findings(single, "x.conf")).toEqual([
      expect.stringContaining("error mtu: mtu: 1 is not within"),
    ]);
    expect(await findings(list(bridge), "x.json")).toEqual([
      "1:1 error : this is a list, and runtimes read it only if its file's name ends in .conflist",
    ]);
  });

  test("may hold a chain alone", async () => {
    const chain = { type: "heddle-chain", plugins: [{ ...bridge, mtu: 1 }, portmap] };
    const found = await findings(JSON.stringify({ cniVersion: "1.1.0", name: "net", ...chain }), "x.conf");
    expect(found.map((f) => f.split(" ")[2])).toEqual(["capabilities:", "plugins[0].mtu:"]);
  });

  test("beside a list are held against it, each with its own places", async () => {
    const beside = (_: Source, network: string): readonly Source[] => [
      { file: `${network}/10.conf`, text: '{"type":"portmap",\n"snat":1}' },
      { file: `${network}/20.conf`, text: '{"type":"bridge"}' },
      { file: `${network}/30.conf`, text: "{" },
    ];
    const checked = await checkFile({ file: "x.conflist", text: list(bridge) }, { ...alone, beside });
    expect(checked.flatMap(toJson).map(({ file, line, path }) => `${file}:${line} ${path}`)).toEqual([
      "net/10.conf:2 snat",
      "net/20.conf:1 type",
      "net/30.conf:1 ",
    ]);
    const only = { cniVersion: "1.1.0", name: "net", loadOnlyInlinedPlugins: true, plugins: [bridge] };
    expect(await findings(JSON.stringify(only), "x.conflist", { ...alone, beside })).toEqual([]);
    const none = JSON.stringify({ cniVersion: "1.1.0", name: "net" });
    expect(
      await findings(none, "x.conflist", {
        ...alone,
        beside: () => [{ file: "a.conf", text: JSON.stringify(bridge) }],
      }),
    ).toEqual([]);
  });
});

describe("what people see", () => {
  test("is the place, the line and a caret below what is meant, after tabs too", async () => {
    const text = '{"cniVersion":"1.1.0","name":"net","plugins":[\n\t{"type":"bridge",\t"isGatway": true}]}';
    const [checked] = await checkFile({ file: "x.conflist", text }, alone);
    expect(checked && toText(checked)).toEqual([
      'x.conflist:2:20: error: bridge has no option "isGatway"; did you mean "isGateway"?\n' +
        '  \t{"type":"bridge",\t"isGatway": true}]}\n' +
        "  \t                 \t^^^^^^^^^^",
    ]);
  });

  test("is a part of a long line", async () => {
    const text = list({ ...bridge, dns: { search: ["x".repeat(1000)] }, mtu: 1, bridge: "y".repeat(1000) });
    const [checked] = await checkFile({ file: "x.conflist", text }, alone);
    for (const shown of checked ? toText(checked) : []) {
      const [, line = "", caret = ""] = shown.split("\n");
      expect(line.length).toBeLessThanOrEqual(122);
      expect(caret.length).toBeLessThanOrEqual(122);
      expect(caret).toContain("^");
    }
  });
});
