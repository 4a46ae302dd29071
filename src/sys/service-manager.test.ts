import { describe, expect, test } from "bun:test";
import { openServiceManager } from "./service-manager.ts";

describe("openServiceManager", () => {
  test.each([
    ["without a socket", {}],
    ["with a name that is neither a path nor abstract", { NOTIFY_SOCKET: "vsock:2:1" }],
    ["with a path that no address has room for", { NOTIFY_SOCKET: `/${"x".repeat(120)}` }],
  ])("is nobody %s", (_, env) => {
    expect(openServiceManager(env)).toBeUndefined();
  });

  test("knows how often the watchdog wants to hear of this process, and of no other", () => {
    const env = { NOTIFY_SOCKET: "/nonexistent/notify", WATCHDOG_USEC: "30000000" };
    using own = openServiceManager(env);
    expect(own?.watchdogMs).toBe(30_000);
    using others = openServiceManager({ ...env, WATCHDOG_PID: "1" });
    expect(others?.watchdogMs).toBeUndefined();
  });

  test("does not mind a manager that is gone", () => {
    using manager = openServiceManager({ NOTIFY_SOCKET: "/nonexistent/notify" });
    manager?.tell("READY=1");
  });
});
