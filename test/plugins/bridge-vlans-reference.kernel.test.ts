/** `bridge` with VLANs beside the reference: the same ports, and each takes over from the other. */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTestWith, whyNot } from "../../src/testing/needs.ts";
import { peerProgram } from "../../src/testing/peer.ts";
import { bridgeOn, type Json, listSite } from "./list-site.ts";

const peer = whyNot({ root: true }) === undefined ? await peerProgram("bridge") : undefined;
const by = peer?.slice(0, peer.lastIndexOf("/")) ?? "";

const heddle = heddleOfFile();

const rows: readonly Json[] = [
  { vlan: 100 },
  { vlanTrunk: [{ id: 101 }, { minID: 200, maxID: 210 }] },
  { vlan: 100, vlanTrunk: [{ id: 101 }, { minID: 200, maxID: 210 }] },
  { vlan: 100, preserveDefaultVlan: true },
  { vlanTrunk: [{ id: 101 }], preserveDefaultVlan: true },
];

describe("beside the reference", () => {
  kernelTestWith("bridge vlan")(
    "ports are in the same VLANs, and each removes what the other made",
    async () => {
      await using on = await listSite(heddle);
      const a = await on.container();
      const ports = async (result: Json): Promise<string> => {
        const name = String((result["interfaces"] as readonly Json[])[1]?.["name"]);
        const { stdout } = await on.host.exec(["bridge", "-json", "vlan", "show", "dev", name]);
        return JSON.stringify((JSON.parse(stdout) as Json[])[0]?.["vlans"]);
      };
      for (const more of rows) {
        const conf = bridgeOn(on, ["10.87.0.0/24"], { isGateway: false, ...more });
        const theirs = await on.add(a, [conf], { by });
        const wanted = await ports(theirs);
        await on.check(a, [conf], theirs);
        await on.del(a, [conf], theirs);
        const ours = await on.add(a, [conf]);
        expect([more, await ports(ours)]).toEqual([more, wanted]);
        await on.check(a, [conf], ours, { by });
        await on.del(a, [conf], ours, { by });
        await on.del(a, [conf], ours);
      }
    },
  );
});
