/** The unit for systemd that ships with the agent. */
import { expect, test } from "bun:test";
import { unit } from "../testing/systemd-unit.ts";
import { DEFAULT_SOCKET } from "./settings.ts";

const service = unit("heddle-agent.service").get("Service");

test("the unit starts the agent, waits for its word, and watches over it", () => {
  expect(service?.get("ExecStart")).toEqual(["/opt/cni/bin/heddle agent --config /etc/heddle/agent.json"]);
  expect(service?.get("Type")).toEqual(["notify"]);
  expect(service?.has("WatchdogSec")).toBe(true);
});

test("the unit makes the directory of the agent's socket, which its group can enter", () => {
  expect(service?.get("RuntimeDirectory")?.map((name) => `/run/${name}/agent.sock`)).toEqual([
    DEFAULT_SOCKET,
  ]);
  expect(service?.get("RuntimeDirectoryMode")).toEqual(["0755"]);
});
