/** The unit for systemd that ships with the agent, and what keeps managers of networks from its links. */
import { expect, test } from "bun:test";
import { furtherUdpDevice, UDP_DEVICE } from "../fabric/transport/udp.ts";
import { sourcesOf, textOf } from "../testing/sources.ts";
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

/** How names of links begin in the transports' sources, as `flannel.` of `flannel.${vni}`. */
const fabricNames = (): readonly string[] =>
  sourcesOf("src/fabric/transport/*.ts")
    .filter(({ path }) => !path.includes(".test."))
    .flatMap(({ text }) => [...text.matchAll(/["`](fl(?:annel|0)[-.\w]*)/g)].map(([, name = ""]) => name));

test("NetworkManager leaves the links of every fabric alone", () => {
  const line = /^unmanaged-devices\+=(.*)$/m.exec(textOf("packaging/NetworkManager/heddle.conf"))?.[1] ?? "";
  const patterns = line.split(";").map((word) => new Bun.Glob(word.replace("interface-name:", "")));
  const names = [...fabricNames(), UDP_DEVICE, furtherUdpDevice("second")];
  expect(fabricNames().length).toBeGreaterThan(4);
  expect(names.filter((name) => !patterns.some((pattern) => pattern.match(name)))).toEqual([]);
});

test("systemd-networkd leaves the device of udp alone, which has no altname", () => {
  const line = /^Name=(.*)$/m.exec(textOf("packaging/systemd/heddle-links.network"))?.[1] ?? "";
  const patterns = line.split(" ").map((word) => new Bun.Glob(word));
  const names = [UDP_DEVICE, furtherUdpDevice("second")];
  expect(names.filter((name) => !patterns.some((pattern) => pattern.match(name)))).toEqual([]);
});
