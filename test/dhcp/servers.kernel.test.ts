/** Leases of servers that others wrote: dnsmasq, ISC's and Kea, each for both families. */
import { describe, expect } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { dhcpLab } from "../../src/testing/dhcp-lab.ts";
import { dhcpServersTree, realServers, startRealServer } from "../../src/testing/dhcp-servers.ts";
import { testWith } from "../../src/testing/needs.ts";
import { run } from "../../src/testing/run.ts";

const tree = await dhcpServersTree();
const feature = tree === undefined ? "needs Debian's DHCP servers" : true;
const serverTest = testWith({ root: true, programs: ["ip", "setpriv"], feature });
const both = { families: ["ipv4", "ipv6"] };
const root = tree ?? "";

describe.each(realServers)("%s", (name) => {
  serverTest(
    "gives one address a family with DNS and routes, and to another when it has it back",
    async () => {
      await using lab = await dhcpLab();
      const one = { first: 10, last: 10, leaseSeconds: 600, renewSeconds: 300 };
      await using _ = await startRealServer(name, root, lab.server, lab.dir, one);
      await using daemon = await lab.daemon("--resendtimeout", "6s");
      const added = await lab.call("ADD", { ipam: both });
      expect(added.json).toEqual({
        cniVersion: "1.1.0",
        ips: [{ address: "10.9.1.10/16" }, { address: "fd09::1:a/128" }],
        routes: [{ dst: "10.5.0.0/16", gw: "10.9.0.7" }],
        dns: { nameservers: ["10.9.0.53", "fd09::53"], domain: "lan.test", search: ["a.test", "b.a.test"] },
      });
      const other = { call: { containerId: "c2" } };
      const refused = await lab.call("ADD", { ...other, ipam: both });
      expect(refused.json).toMatchObject({ code: 11 });
      expect((await lab.call("DEL")).stdout).toBe("");
      await daemon.said("fd09::1:a/128 from a DHCPv6 server: released");
      for (const family of both.families) {
        const now = await lab.call("ADD", { ...other, ipam: { families: [family] } });
        const address = family === "ipv4" ? "10.9.1.10/16" : "fd09::1:a/128";
        expect(now.json).toMatchObject({ ips: [{ address }] });
        expect((await lab.call("DEL", other)).stdout).toBe("");
      }
    },
  );

  serverTest("renews, and knows the same container again", async () => {
    await using lab = await dhcpLab();
    const range = { first: 10, last: 90, leaseSeconds: 20, renewSeconds: 2 };
    await using _ = await startRealServer(name, root, lab.server, lab.dir, range);
    await using daemon = await lab.daemon();
    const ipam = both;
    const added = await lab.call("ADD", { ipam });
    const { ips } = added.json as { readonly ips: readonly { readonly address: string }[] };
    for (const { address } of ips)
      await run(["ip", "-n", lab.container.name, "address", "add", address, "dev", "eth0"]);
    const [four = "", six = ""] = ips.map((i) => i.address);
    // dnsmasq has no lease of less than two minutes: the long test waits for that.
    if (name !== "dnsmasq")
      for (const address of [four, six])
        await daemon.log.line((l) => l.includes(address) && l.includes("renewed"));
    expect((await lab.call("CHECK", { ipam, conf: { prevResult: added.json } })).stdout).toBe("");
    // The server knows the client, also when this host has forgotten the lease.
    await daemon.stop("SIGKILL");
    rmSync(join(lab.dir, "state"), { recursive: true });
    await using _next = await lab.daemon();
    expect((await lab.call("ADD", { ipam })).json).toMatchObject({ ips });
  });
});
