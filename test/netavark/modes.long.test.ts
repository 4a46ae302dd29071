/** Podman's networks of mode ipvlan, by netavark's calls, on kernels that have it. */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelTestWith } from "../../src/testing/needs.ts";
import { testNetns } from "../../src/testing/netns.ts";
import { connectFrom, serveIn } from "../../src/testing/traffic.ts";
import { connection, netavarkLab } from "./lab.ts";
import { gateway, onUplink, twoContainers } from "./on-parent.ts";

const heddle = heddleOfFile();

describe("a network of Podman's", () => {
  kernelTestWith("ipvlan")("in mode ipvlan puts containers on the parent", async () => {
    await using lab = await netavarkLab(heddle);
    await using machine = await gateway(lab);
    await twoContainers(lab, machine, onUplink({ mode: "ipvlan" }), "up0");
  });

  kernelTestWith("ipvlan")("in mode l3 of ipvlan leaves the way to the host", async () => {
    await using lab = await netavarkLab(heddle);
    await using machine = await gateway(lab);
    await using one = await testNetns();
    await lab.host.exec(["ip", "addr", "add", "10.77.0.9/24", "dev", "up0"]);
    await machine.exec(["ip", "route", "add", "10.78.0.0/24", "via", "10.77.0.9"]);
    const subnets = [{ subnet: "10.78.0.0/24", gateway: "10.78.0.1" }];
    const routed = { ...onUplink({ mode: "ipvlan", ipvlan_mode: "l3" }), subnets };
    await lab.call(["setup", one.path], connection("a1", "10.78.0.2", routed));
    await using _m = await serveIn(machine.path, "0.0.0.0", 80);
    expect((await connectFrom(one.path, "10.77.0.1", 80)).stdout.trim()).toBe("10.78.0.2");
    await lab.call(["teardown", one.path], connection("a1", "10.78.0.2", routed));
  });
});
