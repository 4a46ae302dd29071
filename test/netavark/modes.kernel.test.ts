/**
 * Podman's networks whose containers hang on a link of the host, by netavark's calls. What is rarer, and wants another kernel,
 * is in `modes.long.test.ts`.
 */
import { describe } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTest, kernelTestWith } from "../../src/testing/needs.ts";
import { netavarkLab } from "./lab.ts";
import { gateway, onUplink, twoContainers } from "./on-parent.ts";

const heddle = heddleOfFile();

describe("a network of Podman's", () => {
  kernelTest("in mode macvlan puts containers on the parent", async () => {
    await using lab = await netavarkLab(heddle);
    await using machine = await gateway(lab);
    await twoContainers(lab, machine, onUplink({ mode: "macvlan" }), "up0");
  });

  kernelTestWith("vlan")(
    "in mode vlan puts containers into the VLAN, whose link comes and goes with them",
    async () => {
      await using lab = await netavarkLab(heddle);
      await using machine = await gateway(lab, 100);
      await twoContainers(lab, machine, onUplink({ mode: "vlan", vlan: "100" }), "up0.100");
    },
  );
});
