/** The units for systemd that ship with the daemon. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { inProject } from "../../scripts/paths.ts";
import { makeProgram } from "../cli/program.ts";
import { SOCKET_PATH } from "./client.ts";
import { leaseDir, stateDir } from "./store.ts";

/** Sections of a unit, each key with its values in order. */
function unit(name: string): ReadonlyMap<string, ReadonlyMap<string, readonly string[]>> {
  const sections = new Map<string, Map<string, string[]>>();
  let section: Map<string, string[]> | undefined;
  for (const line of readFileSync(inProject("packaging/systemd", name), "utf8").split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const head = /^\[(\w+)\]$/.exec(line)?.[1];
    if (head !== undefined) sections.set(head, (section = new Map()));
    else {
      const at = line.indexOf("=");
      const key = line.slice(0, at);
      if (at < 1 || section === undefined) throw new Error(`${name}: "${line}"`);
      section.set(key, [...(section.get(key) ?? []), line.slice(at + 1)]);
    }
  }
  return sections;
}

describe("the units", () => {
  const socket = unit("heddle-dhcp.socket");
  const service = unit("heddle-dhcp.service");

  test("listen where plugins ask, for root alone", () => {
    expect(socket.get("Socket")?.get("ListenStream")).toEqual([SOCKET_PATH]);
    expect(socket.get("Socket")?.get("SocketMode")).toEqual(["0600"]);
    expect(socket.get("Socket")?.get("DirectoryMode")).toEqual(["0700"]);
  });

  test("start a command that there is, which takes the socket over", () => {
    const [start = ""] = service.get("Service")?.get("ExecStart") ?? [];
    const [file, command, ...rest] = start.split(" ");
    expect(file).toBe("/opt/cni/bin/heddle");
    expect(makeProgram("heddle").commands.map((c) => c.name())).toContain(command ?? "");
    expect(rest).toEqual([]);
    expect(service.get("Unit")?.get("Requires")).toEqual(["heddle-dhcp.socket"]);
    expect(service.get("Install")?.get("Also")).toEqual(["heddle-dhcp.socket"]);
  });

  test("let it write where leases are, and see namespaces as the host has them", () => {
    const [state = ""] = service.get("Service")?.get("StateDirectory") ?? [];
    expect(leaseDir(stateDir({}))).toBe(`/var/lib/${state}/dhcp`);
    // Each of these would give it mounts of its own, in which later namespaces do not appear.
    for (const key of ["PrivateTmp", "ProtectSystem", "ProtectHome", "PrivateMounts", "PrivateDevices"])
      expect(service.get("Service")?.has(key)).toBe(false);
  });
});
