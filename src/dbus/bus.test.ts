import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { startProcess, type TestProcess } from "../testing/netns.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { mayHaveSystemBus, socketsOf } from "./address.ts";
import { openSystemBus } from "./bus.ts";

/** The connection against servers that misbehave; `firewalld` itself is in test/plugins/firewalld.kernel.test.ts. */
const dir = tempDir("bus");
afterAll(() => dir[Symbol.dispose]());
const at = (name: string) => ({ DBUS_SYSTEM_BUS_ADDRESS: `unix:path=${join(dir.path, name)}` });

/** A server that answers the first line with `line`, and what comes after BEGIN with these bytes. */
async function server(name: string, line: string, hex: string): Promise<TestProcess> {
  const script = `const [path, line, hex] = process.argv.slice(1);
    Bun.listen({ unix: path, socket: { data: (s, bytes) => {
      const text = bytes.toString("latin1");
      if (text.startsWith("\\0AUTH")) s.write(line + "\\r\\n");
      else if (hex === "") s.end();
      else if (text.includes("Hello")) s.write(Buffer.from(hex, "hex"));
    } } });
    console.log("listening");`;
  const child = startProcess([process.execPath, "-e", script, join(dir.path, name), line, hex]);
  await child.printed("listening");
  return child;
}

describe("socketsOf", () => {
  test.each<[string, string[]]>([
    ["unix:path=/run/dbus/system_bus_socket", ["/run/dbus/system_bus_socket"]],
    ["unix:path=/tmp/a%20b,guid=00ff", ["/tmp/a b"]],
    ["unix:guid=1,abstract=/tmp/x", ["\0/tmp/x"]],
    ["tcp:host=localhost,port=1;unix:path=/b", ["/b"]],
    ["unix:path=/bad%", ["/bad%"]],
    ["nonsense", []],
  ])("of %s", (address, sockets) => {
    expect(socketsOf(address)).toEqual(sockets);
  });
});

describe("openSystemBus", () => {
  test("is undefined where nobody listens", async () => {
    expect(openSystemBus(at("nobody"))).toBeUndefined();
    expect(mayHaveSystemBus(at("nobody"))).toBeFalse();
    await Bun.write(join(dir.path, "left"), "");
    expect(mayHaveSystemBus(at("left"))).toBeTrue();
    expect(openSystemBus(at("left"))).toBeUndefined();
    expect(mayHaveSystemBus({ DBUS_SYSTEM_BUS_ADDRESS: "unix:abstract=anything" })).toBeTrue();
  });
  test("says what a path is that cannot be a socket's", () => {
    expect(() => openSystemBus(at("x".repeat(200)))).toThrow("ENAMETOOLONG");
  });
  test("fails if the bus refuses the user", async () => {
    await using _server = await server("refuses", "REJECTED EXTERNAL", "");
    expect(() => openSystemBus(at("refuses"))).toThrow("refuses this user: REJECTED EXTERNAL");
  });
  test("fails if the bus hangs up", async () => {
    await using _server = await server("hangs-up", "OK 00", "");
    expect(() => openSystemBus(at("hangs-up"))).toThrow(/ECONNRESET|EPIPE/);
  });
  test("fails if what answers is no bus", async () => {
    await using _server = await server("strange", "OK 00", "78".repeat(32));
    expect(() => openSystemBus(at("strange"))).toThrow("D-Bus system bus: D-Bus: no byte order");
  });
  test("passes on the error that Hello is answered with", async () => {
    const error =
      "6c030101 06000000 01000000 0f000000 05017500 01000000 08016700 01730000 01000000 6e00".replaceAll(
        " ",
        "",
      );
    await using _server = await server("no-hello", "OK 00", error);
    expect(() => openSystemBus(at("no-hello"))).toThrow("Hello: n");
  });
});
