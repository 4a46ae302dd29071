/** `bridge` beside the reference: what CHECK says of the firewall rules of an attachment that the reference made. */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith, whyNot } from "../../src/testing/needs.ts";
import { peerProgram } from "../../src/testing/peer.ts";
import { bridgeOn, type Json, listSite } from "./list-site.ts";

const needs = { root: true, programs: ["ip", "nft", "nsenter", "unshare"] };
const peer = whyNot(needs) === undefined ? await peerProgram("bridge") : undefined;
const by = peer?.slice(0, peer.lastIndexOf("/")) ?? "";
const kernel = testWith({ ...needs, feature: peer === undefined ? "needs the reference plugins" : true });

const heddle = heddleOfFile();

describe("CHECK of what the reference made", () => {
  kernel.each([
    ["the check of MAC addresses", ["bridge", "nat"]],
    ["masquerading", ["inet", "cni_plugins_masquerade"]],
  ])("finds that %s is gone while the other is there", async (_, table) => {
    await using on = await listSite(heddle);
    const a = await on.container();
    const conf = bridgeOn(on, ["10.87.0.0/24"], {
      ipMasq: true,
      ipMasqBackend: "nftables",
      macspoofchk: true,
    });
    const theirs: Json = await on.add(a, [conf], { by });
    await on.check(a, [conf], theirs);
    await on.host.exec(["nft", "delete", "table", ...table]);
    const reply = await on.call("CHECK", a, { ...conf, prevResult: theirs });
    expect([reply.error, reply.message]).toEqual([103, expect.stringContaining("heddle")]);
    await on.del(a, [conf], theirs);
  });
});
