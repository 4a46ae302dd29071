import { describe, expect } from "bun:test";
import { readlinkSync } from "node:fs";
import { basename } from "node:path";
import { kernelFeatures, kernelHas } from "../../src/testing/features.ts";
import { kernelTestWith } from "../../src/testing/needs.ts";
import { type TestNetns, testNetns } from "../../src/testing/netns.ts";
import { run } from "../../src/testing/run.ts";
import { takeSpareNics } from "../../src/testing/spare-nics.ts";
import { seenFrom } from "../../src/testing/traffic.ts";

async function linksIn(netns: TestNetns): Promise<readonly string[]> {
  const { stdout } = await netns.exec(["ip", "-json", "link"]);
  return (JSON.parse(stdout) as readonly { readonly ifname: string }[]).map(({ ifname }) => ifname);
}

describe("the virtual machine", () => {
  kernelTestWith(...kernelFeatures)(
    "has every feature that a test can ask for, and no links that come with one",
    async () => {
      expect(kernelFeatures.filter((feature) => !kernelHas(feature))).toEqual([]);
      await using netns = await testNetns();
      expect(await linksIn(netns)).toEqual(["lo"]);
    },
  );

  kernelTestWith("spare nics")("has two network devices on one wire, and no way out", async () => {
    using spare = await takeSpareNics();
    await using one = await testNetns();
    await using two = await testNetns();
    expect((await run(["ip", "route"])).stdout).toBe("");
    for (const [i, netns] of [one, two].entries()) {
      const nic = spare.names[i] ?? "";
      expect(basename(readlinkSync(`/sys/class/net/${nic}/device/driver`))).toBe("virtio_net");
      await run(["ip", "link", "set", nic, "netns", netns.name]);
      await netns.exec(["ip", "addr", "add", `192.0.2.${i + 1}/24`, "dev", nic]);
      await netns.exec(["ip", "link", "set", nic, "up"]);
    }
    expect(await seenFrom(one.path, two.path, "192.0.2.2", 8080)).toBe("192.0.2.1");
  });
});
