/** dnsmasq gives no lease of less than two minutes, so that its renewal takes one. */
import { dhcpLab } from "../../src/testing/dhcp-lab.ts";
import { dhcpServersTree, startRealServer } from "../../src/testing/dhcp-servers.ts";
import { testWith } from "../../src/testing/needs.ts";
import { run } from "../../src/testing/run.ts";

const tree = await dhcpServersTree();
const feature = tree === undefined ? "needs Debian's dnsmasq" : true;

testWith({ root: true, programs: ["ip", "setpriv"], feature })(
  "dnsmasq renews both families after a minute",
  async () => {
    await using lab = await dhcpLab();
    const range = { first: 10, last: 90, leaseSeconds: 120, renewSeconds: 60 };
    await using _ = await startRealServer("dnsmasq", tree ?? "", lab.server, lab.dir, range);
    await using daemon = await lab.daemon();
    const added = await lab.call("ADD", { ipam: { families: ["ipv4", "ipv6"] } });
    const { ips } = added.json as { readonly ips: readonly { readonly address: string }[] };
    for (const { address } of ips)
      await run(["ip", "-n", lab.container.name, "address", "add", address, "dev", "eth0"]);
    for (const { address } of ips)
      await daemon.log.line((l) => l.includes(address) && l.includes("renewed"), 80_000);
  },
  100_000,
);
