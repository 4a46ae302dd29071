/** Beside the reference's plugin and daemon: what a server sees of both, and changing over from one to the other. */
import { describe, expect } from "bun:test";
import { join } from "node:path";
import { peerDir } from "../../scripts/peer.ts";
import { errorText } from "../../src/cni/errors.ts";
import { type DhcpLab, dhcpLab } from "../../src/testing/dhcp-lab.ts";
import { type Behaviour, startServer } from "../../src/testing/dhcp-server.ts";
import { runPlugin, type PluginOutcome } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { startProcess, type TestProcess } from "../../src/testing/netns.ts";

const usual: Behaviour = {
  link: "lan",
  address: "10.9.0.1",
  first: "10.9.1.10",
  leaseSeconds: 600,
  options: [
    [3, "0a090001"],
    [33, "c0a807000a090009"],
  ],
};

async function peer(): Promise<string | undefined> {
  try {
    return join(await peerDir(), "dhcp");
  } catch (e) {
    console.warn(`skipped: the reference's dhcp is not here: ${errorText(e)}`);
    return undefined;
  }
}
const file = await peer();
const feature = file === undefined ? "needs the reference plugins" : true;
const peerTest = testWith({ root: true, programs: ["ip", "setpriv"], feature });

interface Peer extends AsyncDisposable {
  call(command: "ADD" | "DEL" | "CHECK" | "STATUS", ipam?: object, args?: string): Promise<PluginOutcome>;
}
async function answers(socket: string): Promise<boolean> {
  try {
    (await Bun.connect({ unix: socket, socket: { data() {} } })).end();
    return true;
  } catch {
    return false;
  }
}

async function reference(lab: DhcpLab): Promise<Peer> {
  const socket = join(lab.dir, "reference.sock");
  const child: TestProcess = startProcess(
    ["setpriv", "--pdeathsig", "KILL", file ?? "", "daemon", "-socketpath", socket],
    { ...lab.env },
  );
  // The file is there a moment before anybody listens.
  for (const until = performance.now() + 10_000; !(await answers(socket)) && performance.now() < until;)
    await Bun.sleep(10);
  return {
    call: (command, ipam = {}, args = "") =>
      runPlugin(
        file ?? "",
        {
          command,
          containerId: "c1",
          netns: lab.container.path,
          ifname: "eth0",
          cniPath: "/nonexistent",
          args,
        },
        {
          cniVersion: "1.0.0",
          name: "lan",
          type: "macvlan",
          ipam: { type: "dhcp", daemonSocketPath: socket, ...ipam },
        },
      ),
    [Symbol.asyncDispose]: async () => child[Symbol.asyncDispose](),
  };
}

describe("beside the reference", () => {
  peerTest("a server sees the same client, with the same options", async () => {
    await using lab = await dhcpLab();
    await using server = await startServer(lab.server, usual);
    await using other = await reference(lab);
    await using _ = await lab.daemon();
    const ipam = {
      provide: [
        { option: "host-name", value: "box" },
        { option: "60", fromArg: "CLASS" },
        { option: "user-class", value: "abc" },
      ],
      request: [{ option: "routers", skipDefault: true }, { option: "33" }],
    };
    const theirs = await other.call("ADD", ipam, "CLASS=vendor");
    const first = await server.saw("request");
    await other.call("DEL", ipam);
    const before = server.seen().length;
    const ours = await lab.call("ADD", {
      ipam,
      call: { args: "CLASS=vendor" },
      conf: { cniVersion: "1.0.0" },
    });
    const second = await server.saw("request", before);
    expect(ours.json).toEqual(theirs.json);
    for (const code of ["12", "55", "57", "60", "61"])
      expect([code, second.options[code]]).toEqual([code, first.options[code]]);
    // RFC 3004 has a length before each class, which the reference leaves out.
    expect([first.options["77"], second.options["77"]]).toEqual(["616263", "03616263"]);
    // An address is given back by who has it.
    expect((await server.saw("release")).source).toBe("0.0.0.0");
    const released = server.seen().length;
    await lab.call("DEL", { ipam });
    expect((await server.saw("release", released)).source).toBe("10.9.1.10");
  });

  peerTest("a container that the reference attached keeps its address with Heddle", async () => {
    await using lab = await dhcpLab();
    await using _ = await startServer(lab.server, { ...usual, first: "10.9.1.77" });
    await using daemon = await lab.daemon();
    let theirs: PluginOutcome;
    {
      await using other = await reference(lab);
      theirs = await other.call("ADD");
    }
    const ours = await lab.call("ADD", { conf: { cniVersion: "1.0.0" } });
    expect(ours.json).toEqual(theirs.json);
    await daemon.said("10.9.1.77");
  });
});
