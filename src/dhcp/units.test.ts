/** The units for systemd that ship with the daemon. */
import { describe, expect, test } from "bun:test";
import { makeProgram } from "../cli/program.ts";
import { unit } from "../testing/systemd-unit.ts";
import { SOCKET_PATH } from "./client.ts";
import { leaseDir, stateDir } from "./store.ts";

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
