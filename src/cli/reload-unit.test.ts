/** The unit for systemd that runs `heddle reload`. */
import { describe, expect, test } from "bun:test";
import { unit } from "../testing/systemd-unit.ts";
import { makeProgram } from "./program.ts";

describe("the unit that puts rules back", () => {
  const parts = unit("heddle-reload.service");
  const service = parts.get("Service");
  const firewalls = ["nftables.service firewalld.service"];

  test("runs a command that there is, when it starts and when it is told to reload", () => {
    expect(service?.get("ExecStart")).toEqual(["/opt/cni/bin/heddle reload"]);
    expect(service?.get("ExecReload")).toEqual(["/opt/cni/bin/heddle reload"]);
    expect(makeProgram("heddle").commands.map((c) => c.name())).toContain("reload");
  });

  test("follows the services that take rules away, at their start, restart and reload", () => {
    for (const key of ["After", "PartOf", "ReloadPropagatedFrom"])
      expect({ key, of: parts.get("Unit")?.get(key) }).toEqual({ key, of: firewalls });
    expect(parts.get("Install")?.get("WantedBy")).toEqual([`multi-user.target ${firewalls.join(" ")}`]);
  });

  test("lets it enter namespaces, change what Docker's plugin changes, and run the iptables of legacy tables", () => {
    const rights = (of: typeof service) => of?.get("CapabilityBoundingSet")?.[0]?.split(" ").toSorted();
    expect(rights(service)).toEqual(rights(unit("heddle-docker.service").get("Service")));
    expect(rights(service)).toContain("CAP_NET_RAW");
    for (const key of ["PrivateTmp", "ProtectSystem", "ProtectHome", "PrivateMounts", "PrivateNetwork"])
      expect(service?.has(key)).toBe(false);
  });
});
