import { describe, expect, test } from "bun:test";
import { parseFlanneld } from "../../providers/flannel/options.ts";
import { makeProgram } from "../program.ts";
import { settingsOf } from "./run.ts";

function settings(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const call = parseFlanneld(args, env);
  if (call.kind !== "run") throw new Error("does not run");
  return settingsOf(call.options, env);
}

describe("heddle flanneld", () => {
  test("is an agent with flanneld's store, file and health", () => {
    const { flannel, http, owner } = settings(["-healthz-port=8081", "-ip-masq", "-iface", "eth1"]);
    expect(flannel.store).toMatchObject({ kind: "etcd", prefix: "/coreos.com/network" });
    expect(flannel.subnetFile).toBe("/run/flannel/subnet.env");
    expect(flannel.masquerade).toBeDefined();
    expect(http).toEqual({ host: "0.0.0.0", port: 8081 });
    expect(owner.name).toBe("flannel");
  });

  test("tells each change of the kernel if more is to be logged", () => {
    expect([settings([]), settings(["-v=1"])].map(({ log }) => log.changes)).toEqual([false, true]);
  });

  test("is called as its node in Kubernetes", () => {
    expect(settings(["-kube-subnet-mgr"], { NODE_NAME: "worker1" }).node).toBe("worker1");
  });

  test("listens where the environment says", () => {
    expect(settings([], { HEDDLE_AGENT_SOCKET: "/run/x.sock" }).api.socket).toBe("/run/x.sock");
  });

  test("gets its flags as they are written, in order, whatever the command line makes of others", async () => {
    const program = makeProgram("heddle");
    const command = program.commands.find((c) => c.name() === "flanneld");
    const words = [
      "-iface",
      "eth0",
      "--iface=eth1",
      "-v=2",
      "--etcd-endpoints",
      "http://192.0.2.1:2379",
      "-ip-masq",
    ];
    let seen: readonly string[] = [];
    command?.action((args: readonly string[]) => void (seen = args));
    await program.parseAsync(["flanneld", ...words], { from: "user" });
    expect(seen).toEqual(words);
  });
});
