/**
 * `firewall` beside the reference's: the same rules in iptables but for the notes, and each takes over from the other.
 */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { type Attached, type FirewallSite, firewallSite } from "../../src/testing/firewall-site.ts";
import { testWith, whyNot } from "../../src/testing/needs.ts";
import { peerDir } from "../../scripts/peer.ts";
import { peerProgram } from "../../src/testing/peer.ts";
import { demand } from "../faults/loop.ts";

const root = whyNot({ root: true }) === undefined;
const sid = root ? await peerProgram("firewall") : undefined;
const kernel = testWith({
  root: true,
  programs: ["ip", "nft", "iptables-save", "nsenter", "unshare"],
  feature: sid === undefined ? "needs the reference plugins" : true,
});
const heddle = heddleOfFile();

type Json = Readonly<Record<string, unknown>>;
const POLICIES = ["open", "same-bridge", "isolated"] as const;

/** One verb of the reference's plugin for an attachment of `bridge`. */
const reference = (
  on: FirewallSite,
  file: string,
  command: "ADD" | "CHECK" | "DEL",
  one: Attached,
  options: Json = {},
) =>
  on.host.call(
    file,
    { command, containerId: one.netns.name, netns: one.netns.path, ifname: "eth0" },
    {
      ...{ ...one.conf, backend: "iptables", ...options, cniVersion: "1.0.0" },
      prevResult: { ...one.result, cniVersion: "1.0.0" },
    },
  );

const filter = async (on: FirewallSite, family: 4 | 6): Promise<string[]> => {
  const { stdout } = await on.host.exec([family === 4 ? "iptables-save" : "ip6tables-save", "-t", "filter"]);
  return stdout.split("\n").filter((line) => line.startsWith("-A") || line.startsWith(":CNI"));
};
const isNote = (line: string): boolean => line.includes("CNI-FORWARD-OWNERS");

describe("firewall by iptables", () => {
  kernel.each([...POLICIES])(
    "leaves the reference's rules and chains with %s, and its notes",
    async (ingressPolicy) => {
      const left: string[][][] = [];
      for (const ours of [false, true]) {
        await using on = await firewallSite(heddle);
        const one = await on.attach(await on.container(), "foo");
        const options = { backend: "iptables", ingressPolicy };
        demand(
          "ADD",
          await (ours ? on.firewall("ADD", one, options) : reference(on, sid ?? "", "ADD", one, options)),
        );
        left.push([await filter(on, 4), await filter(on, 6)]);
      }
      const [theirs = [], mine = []] = left;
      for (const [family, lines] of mine.entries()) {
        const notes = lines.filter(isNote);
        expect(notes.length).toBe(ingressPolicy === "open" ? 2 : 3);
        expect(lines.filter((l) => !isNote(l)).sort()).toEqual([...(theirs[family] ?? [])].sort());
      }
    },
  );

  kernel.each(["1.1.1", "1.9.1"])(
    "takes over from %s: rules go by address, a policy with its bridge",
    async (version) => {
      const file = version === "1.9.1" ? (sid ?? "") : `${await peerDir("release")}/firewall`;
      await using on = await firewallSite(heddle);
      const [one, two] = [
        await on.attach(await on.container(), "foo"),
        await on.attach(await on.container(), "foo"),
      ];
      const options = { ingressPolicy: "same-bridge" };
      for (const each of [one, two]) demand("ADD", await reference(on, file, "ADD", each, options));
      demand("DEL", await on.firewall("DEL", one, options));
      const between = (await filter(on, 4)).join("\n");
      expect([
        between.includes(one.address4),
        between.includes(two.address4),
        between.includes("-i foo0"),
      ]).toEqual([false, true, true]);
      await on.detach({ ...one, conf: { ...one.conf, ...options } });
      demand("DEL", await on.firewall("DEL", two, options));
      for (const family of [4, 6] as const)
        expect((await filter(on, family)).join("\n")).not.toMatch(/foo0|10\.91\.|fd91:/);
    },
  );

  kernel("is taken over by the reference, which leaves the notes; GC takes those", async () => {
    await using on = await firewallSite(heddle);
    const one = await on.attach(await on.container(), "foo", { backend: "iptables" });
    demand("CHECK", await reference(on, sid ?? "", "CHECK", one));
    demand("DEL", await reference(on, sid ?? "", "DEL", one));
    const left = (await filter(on, 4)).filter((l) => l.includes(one.address4));
    expect(left.map(isNote)).toEqual([true]);
    demand("GC", await on.firewall("GC", one, { "cni.dev/valid-attachments": [] }));
    expect((await filter(on, 4)).join("\n")).not.toContain(one.address4);
  });

  kernel("CHECK accepts what the reference made", async () => {
    await using on = await firewallSite(heddle);
    const one = await on.attach(await on.container(), "foo");
    demand("ADD", await reference(on, sid ?? "", "ADD", one));
    demand("CHECK", await on.firewall("CHECK", one, { backend: "iptables" }));
  });
});
