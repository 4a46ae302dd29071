/**
 * The real firewalld on a host of a test: Debian's packages, unpacked into the cache, with a system bus of its own. It
 * sees the host's namespaces alone, and ends with the test.
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { unpackDebian } from "../../scripts/debian.ts";
import { cacheDir } from "../../scripts/paths.ts";
import { fetchedOr } from "./fetched.ts";
import { openSystemBus } from "../dbus/bus.ts";
import { FIREWALLD } from "../firewall/firewalld.ts";
import type { CniHost } from "./cni-host.ts";
import { startProcess, type TestProcess } from "./netns.ts";
import { plainEnv } from "./run.ts";

const PACKAGES = [
  ...["python3-firewall", "python3-nftables", "python3-dbus", "python3-gi", "gir1.2-glib-2.0"],
  "libgirepository-1.0-1",
  "dbus-daemon",
];

/** The unpacked packages; undefined as `fetchedOr` says. */
export const firewalldTree = (): Promise<string | undefined> =>
  fetchedOr("firewalld", async () => {
    const root = join(cacheDir("firewalld"), "tree");
    await unpackDebian(root, "this machine's", async (apt) => {
      await apt.download(["firewalld"]);
      await apt.downloadWithMissing(PACKAGES);
    });
    return root;
  });

/** The variable by which programs find the bus whose socket is in this directory. */
export const busEnv = (dir: string): Readonly<Record<string, string>> => ({
  DBUS_SYSTEM_BUS_ADDRESS: `unix:path=${join(dir, "bus")}`,
});

/** Everybody may do everything: only root can reach it. */
const BUS_CONFIG = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
</busconfig>
`;

const inside = (host: CniHost): readonly string[] => [
  "nsenter",
  `--target=${host.pid}`,
  "--net",
  "--mount",
  "--",
];

const programOf = (tree: string, path: string): string =>
  existsSync(`/${path}`) ? `/${path}` : join(tree, path);

/** A bus alone; its socket is in `dir`. */
export async function startBus(host: CniHost, dir: string, tree: string): Promise<TestProcess> {
  const config = join(dir, "bus.conf");
  writeFileSync(config, BUS_CONFIG.replace("SOCKET", join(dir, "bus")));
  const daemon = programOf(tree, "usr/bin/dbus-daemon");
  const args = [`--config-file=${config}`, "--nofork", "--nopidfile", "--nosyslog", "--print-address"];
  const bus = startProcess([...inside(host), daemon, ...args], {
    ...plainEnv,
    LD_LIBRARY_PATH: libraries(tree),
  });
  await bus.printed("unix:path=");
  return bus;
}

const libraries = (tree: string): string =>
  join(tree, "usr/lib", `${process.arch === "arm64" ? "aarch64" : "x86_64"}-linux-gnu`);

const QUESTION = {
  destination: FIREWALLD,
  path: "/org/fedoraproject/FirewallD1",
  interface: `${FIREWALLD}.zone`,
  member: "getZones",
  args: [],
} as const;

/** Starts firewalld on the bus in `dir`, with its own defaults. It has loaded its rules when this returns. */
export async function startFirewalld(host: CniHost, dir: string, tree: string): Promise<TestProcess> {
  const config = join(dir, "firewalld");
  mkdirSync(config, { recursive: true });
  const python = existsSync("/usr/bin/python3") ? "/usr/bin/python3" : join(tree, "usr/bin/python3.11");
  const args = [
    "--nofork",
    "--nopid",
    "--default-config",
    join(tree, "usr/lib/firewalld"),
    "--system-config",
    config,
  ];
  const log = ["--log-target", "file", "--log-file", join(dir, "firewalld.log")];
  const daemon = startProcess([...inside(host), python, join(tree, "usr/sbin/firewalld"), ...args, ...log], {
    ...plainEnv,
    ...busEnv(dir),
    PYTHONPATH: join(tree, "usr/lib/python3/dist-packages"),
    GI_TYPELIB_PATH: join(libraries(tree), "girepository-1.0"),
    LD_LIBRARY_PATH: libraries(tree),
  });
  const deadline = performance.now() + 20_000;
  for (;;) {
    using bus = openSystemBus(busEnv(dir));
    // It answers when it has loaded its rules.
    if (bus?.hasOwner(FIREWALLD) && bus.call(QUESTION).kind === "return") break;
    if (performance.now() > deadline) throw new Error("firewalld did not start");
    await Bun.sleep(10);
  }
  return daemon;
}
