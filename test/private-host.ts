/**
 * Plays a fresh host for one program, inside the namespaces that this process was started in:
 * `private-host.ts KIND PROGRAM ARGUMENT…`. With the kind `left` it prints at the end what the program has left;
 * with `plain` it prints nothing;
 * with `subnet-in-use` the host has an address of the demo's subnet from the start.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { command } from "../scripts/command.ts";
import { playHost } from "../scripts/demo/host.ts";
import { mountNew } from "../src/sys/mounts.ts";

const [kind = "", ...argv] = process.argv.slice(2);
await playHost();
// Nor does what it puts here reach the machine's own directories.
if (kind === "plain") mountNew("tmpfs", "/opt");
if (kind === "subnet-in-use") await command(["ip", "addr", "add", "10.244.10.77/32", "dev", "lo"]);
const child = Bun.spawn(argv, { stdio: ["ignore", "inherit", "inherit"] });
process.exitCode = await child.exited;
if (kind === "left") {
  const links = JSON.parse(await command(["ip", "-j", "link", "show"])) as readonly {
    readonly ifname: string;
  }[];
  const left = {
    links: links.map((l) => l.ifname),
    "heddle tables": (await command(["nft", "list", "tables"])).split("heddle").length - 1,
    "CNI chains": (await command(["iptables-save"])).split("CNI-").length - 1,
    namespaces: existsSync("/run/netns") ? readdirSync("/run/netns") : [],
    ip_forward: readFileSync("/proc/sys/net/ipv4/ip_forward", "utf8").trim(),
  };
  console.log(`left: ${JSON.stringify(left)}`);
}
