/** The units for systemd that ship with the Docker plugin. */
import { describe, expect, test } from "bun:test";
import { makeProgram } from "../cli/program.ts";
import { unit } from "../testing/systemd-unit.ts";

describe("the units", () => {
  const socket = unit("heddle-docker.socket");
  const service = unit("heddle-docker.service");

  test("listen where Docker looks for a driver called heddle, for root alone, and before Docker starts", () => {
    const command = makeProgram("heddle").commands.find((c) => c.name() === "docker-plugin");
    const path = command?.options.find((o) => o.long === "--socket")?.defaultValue as unknown;
    expect(path).toBe("/run/docker/plugins/heddle.sock");
    expect(socket.get("Socket")?.get("ListenStream")).toEqual([String(path)]);
    expect(socket.get("Socket")?.get("SocketMode")).toEqual(["0600"]);
    expect(socket.get("Unit")?.get("Before")).toEqual(["docker.service"]);
  });

  test("start a command that there is, which takes the socket over", () => {
    expect(service.get("Service")?.get("ExecStart")).toEqual(["/opt/cni/bin/heddle docker-plugin"]);
    expect(service.get("Unit")?.get("Requires")).toEqual(["heddle-docker.socket"]);
    expect(service.get("Install")?.get("Also")).toEqual(["heddle-docker.socket"]);
  });

  test("let it write where its state is, and see namespaces as the host has them", () => {
    expect(service.get("Service")?.get("StateDirectory")).toEqual(["heddle"]);
    for (const key of ["PrivateTmp", "ProtectSystem", "ProtectHome", "PrivateMounts", "PrivateNetwork"])
      expect(service.get("Service")?.has(key)).toBe(false);
  });
});
