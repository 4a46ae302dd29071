/** The numbers of docs/limits.md are those of the code, as far as the code has them in one place. */
import { describe, expect, test } from "bun:test";
import { JSON_DEPTH_LIMIT, JSON_TEXT_LIMIT } from "../src/cni/json.ts";
import { projectDir } from "../scripts/paths.ts";
import type { FirewallRule } from "../src/firewall/model.ts";
import { markedSets, plan } from "../src/firewall/nftables-layout.ts";
import { LAYOUT_COMMENT } from "../src/firewall/nftables-parts.ts";
import { IF_NAME_BYTES, parseIfName } from "../src/net/ifname.ts";
import { parseIp, parsePrefix } from "../src/net/ip.ts";
import { parseMac } from "../src/net/mac.ts";
import { ELEMENTS_PER_MESSAGE } from "../src/nft/batch.ts";
import { groupsOf } from "../src/providers/flannel/masquerade.ts";

const page = (await Bun.file(`${projectDir}/docs/limits.md`).text()).replaceAll(/ +/g, " ");

function valueOf<T>(parsed: { readonly ok: true; readonly value: T } | { readonly ok: false }): T {
  if (!parsed.ok) throw new TypeError("a constant of this test does not parse");
  return parsed.value;
}
const target = valueOf(parseIp("10.0.0.2"));
const subnet = valueOf(parsePrefix("10.0.0.0/24"));
/** One rule of each kind, so that every group of chains is wanted. */
const rules: readonly FirewallRule[] = [
  { kind: "masquerade", address: target, subnet },
  {
    kind: "port-mapping",
    protocol: "tcp",
    hostPort: 80,
    target,
    targetPort: 80,
    subnet,
    masquerade: "local",
  },
  { kind: "mac-check", link: valueOf(parseIfName("veth0")), mac: valueOf(parseMac("02:00:00:00:00:01")) },
  {
    kind: "port-mapping",
    protocol: "tcp",
    hostPort: 81,
    target,
    targetPort: 80,
    subnet,
    masquerade: "local",
    conditions: [{ on: "saddr", not: true, in: [subnet] }],
  },
  { kind: "ingress-policy", bridge: "br0", address: target, isolated: false },
  { kind: "ingress-policy", bridge: "br0", address: valueOf(parseIp("10.0.0.3")), isolated: true },
  { kind: "closed-link", link: "br0" },
  { kind: "port-isolation", link: "veth0" },
];

describe("docs/limits.md", () => {
  const { groups, chains } = plan(rules, "mark");

  test("has every base chain with its type, hook and priority, and no other", () => {
    const part = { network: subnet, subnet };
    const ofFlannel = groupsOf({ v4: part, masquerade: { fullyRandom: true }, acceptForwarded: true });
    const wanted = [...groups, ...ofFlannel].flatMap(({ table, chains }) =>
      chains.flatMap(({ name, base }) => {
        const shown = name.replace(`_${subnet.text}`, "_NETWORK");
        return base === undefined
          ? []
          : [
              `| \`${table.family} ${table.table} ${shown}\` | ${base.type} | ${base.hook} | ${base.priority} |`,
            ];
      }),
    );
    const found = page
      .split("\n")
      .filter((line) => /^\| `\w+ heddle \w+` \| (?:nat|filter|route) /.test(line));
    expect(found.toSorted()).toEqual(wanted.toSorted());
  });

  test("has the other chains, the sets and the comment of the tables", () => {
    expect(page).toContain(`\`${LAYOUT_COMMENT}\``);
    for (const { name, base } of groups.flatMap((g) => g.chains))
      if (base === undefined) expect(page).toContain(`\`${name}\``);
    for (const { name } of chains)
      expect(page).toContain(
        `\`${name
          .replace(subnet.text, "SUBNET")
          .replace("br0", "BRIDGE")
          .replace(/4_mark$/, "_MARK")}\``,
      );
    for (const { set } of markedSets) expect(page).toContain(`\`${set.name.replace(/[46]$/, "")}\``);
  });

  test("has the sizes that the code bounds", () => {
    expect(page).toContain(`${JSON_TEXT_LIMIT.toLocaleString("en")} characters`);
    expect(page).toContain(`${JSON_DEPTH_LIMIT} levels of nesting`);
    expect(page).toContain(`| interface name | ${IF_NAME_BYTES} bytes;`);
    expect(page).toContain(`| elements in one nftables message | ${ELEMENTS_PER_MESSAGE};`);
  });
});
