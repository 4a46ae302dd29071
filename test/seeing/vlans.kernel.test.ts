/** `heddle ps` and `heddle show` where a bridge keeps VLANs apart and the host is the gateway of one. */
import { expect } from "bun:test";
import type { Entry } from "../../src/cli/ps/entry.ts";
import type { Description } from "../../src/cli/show/description.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTestWith } from "../../src/testing/needs.ts";
import { bridgeOn, listSite } from "../plugins/list-site.ts";

const heddle = heddleOfFile();

kernelTestWith("bridge vlan")(
  "the host's interface in the VLAN is on the way, and the port says its VLANs",
  async () => {
    await using site = await listSite(heddle);
    const at = await site.container();
    await site.add(at, [
      bridgeOn(site, ["10.87.0.0/24"], { vlan: 100, vlanTrunk: [{ minID: 7, maxID: 9 }] }),
    ]);
    const { stdout } = await site.host.cli(["ps", "--json"], {});
    const [entry] = JSON.parse(stdout) as readonly Entry[];
    expect([entry?.state, entry?.findings]).toEqual(["ok", []]);
    const shown = JSON.parse((await site.host.cli(["show", at.name, "--json"], {})).stdout) as Description;
    expect(shown.path.map((s) => [s.by, s.name.replace(/^veth.*/, "veth")])).toEqual([
      ["start", "eth0"],
      ["pair", "veth"],
      ["port", "lists0"],
      ["gateway", "lists0.100"],
    ]);
    expect(shown.path[1]?.port).toMatchObject({ vlan: 100, taggedVlans: [7, 8, 9] });
    expect(shown.path[3]?.addresses.map((a) => a.address)).toContain("10.87.0.1/24");
    expect((await site.host.cli(["show", at.name], {})).stdout).toContain(
      "port: VLAN 100, tagged VLANs 7 to 9",
    );
  },
);
