/**
 * The package of Debian, installed, upgraded and removed by the real dpkg, into a root of the test's own: its scripts run on
 * this machine, told where the root is (DPKG_ROOT).
 */
import { afterAll, beforeAll, describe, expect } from "bun:test";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { ensureBuilt } from "../../scripts/build.ts";
import { type DebPackage, deb } from "../../scripts/package/deb.ts";
import { ownTarget } from "../../scripts/package/targets.ts";
import { installation } from "../../scripts/package/tree.ts";
import { inProject } from "../../scripts/paths.ts";
import { PLUGIN_STUB } from "../../src/cli/install-files.ts";
import { placesFor } from "../../src/cli/install-places.ts";
import { runPlugin } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { plainEnv, run } from "../../src/testing/run.ts";
import { type TempDir, tempDir } from "../../src/testing/temp-dir.ts";

const LIMIT_MS = 120_000;
const rootTest = testWith({ root: true, programs: ["dpkg", "dpkg-deb"] });

let dir: TempDir;
let package_: DebPackage;
const archive = (version: string): string => dir.in(`heddle_${version}.deb`);

beforeAll(async () => {
  dir = tempDir("debian");
  package_ = {
    name: "heddle",
    version: "0.1.0",
    architecture: ownTarget().debian ?? "amd64",
    description: "Container networking",
    conflicts: ["heddle-baseline"],
    files: installation(readFileSync(await ensureBuilt()), "0.1.0"),
  };
  for (const version of ["0.1.0", "0.1.1"]) writeFileSync(archive(version), deb({ ...package_, version }));
}, LIMIT_MS);
afterAll(() => dir[Symbol.dispose]());

/** A root without anything but dpkg's own tables, which say that there is a C library. */
function emptyRoot(name: string): string {
  const root = dir.in(name);
  for (const path of ["var/lib/dpkg/updates", "var/lib/dpkg/info"])
    mkdirSync(`${root}/${path}`, { recursive: true });
  writeFileSync(`${root}/var/lib/dpkg/info/libc6.list`, "");
  const libc = ["Package: libc6", "Status: install ok installed", "Version: 2.36", "Maintainer: nobody"];
  const more = [`Architecture: ${package_.architecture}`, "Description: the C library", ""];
  writeFileSync(`${root}/var/lib/dpkg/status`, [...libc, ...more].join("\n"));
  return root;
}
const dpkg = (root: string, words: readonly string[], env: Readonly<Record<string, string>> = {}) =>
  run([...["dpkg", `--root=${root}`, "--force-script-chrootless", "--log=/dev/null"], ...words], {
    env: { ...plainEnv, ...env },
    mustSucceed: false,
    timeoutMs: LIMIT_MS,
  });

describe("the package of Debian", () => {
  rootTest(
    "is what dpkg expects, and the same bytes each time",
    async () => {
      const { stdout } = await run(["dpkg-deb", "--info", archive("0.1.0")]);
      expect(stdout).toContain("Package: heddle\n");
      expect(Bun.hash(deb(package_))).toBe(Bun.hash(readFileSync(archive("0.1.0"))));
    },
    LIMIT_MS,
  );

  rootTest(
    "places every plugin, which works, and goes without a trace but the state",
    async () => {
      const root = emptyRoot("fresh");
      const installed = await dpkg(root, ["--install", archive("0.1.0")]);
      expect({ code: installed.code, unpacked: installed.stdout.includes("Setting up heddle") }).toEqual({
        code: 0,
        unpacked: true,
      });
      const { links, stubs } = placesFor(`${root}/opt/cni/bin`);
      for (const type of links) expect(readlinkSync(`${root}/opt/cni/bin/${type}`)).toBe("heddle");
      for (const type of stubs)
        expect(readFileSync(`${root}/opt/cni/bin/${type}`, "utf8")).toBe("#!/opt/cni/bin/heddle as-plugin\n");
      expect(readlinkSync(`${root}/usr/libexec/netavark/heddle`)).toBe("/opt/cni/bin/heddle");
      const { json } = await runPlugin(
        `${root}/opt/cni/bin/bridge`,
        { command: "VERSION" },
        { cniVersion: "1.0.0" },
      );
      expect(json).toMatchObject({ supportedVersions: expect.arrayContaining(["1.1.0"]) });
      const verified = await dpkg(root, ["--verify", "heddle"]);
      expect(verified.stdout).toBe("");
      mkdirSync(`${root}/var/lib/heddle/dhcp`, { recursive: true });
      await dpkg(root, ["--remove", "heddle"]);
      expect(existsSync(`${root}/opt/cni/bin`)).toBe(false);
      expect(existsSync(`${root}/var/lib/heddle/dhcp`)).toBe(true);
      await dpkg(root, ["--purge", "heddle"]);
      expect(existsSync(`${root}/var/lib/heddle`)).toBe(false);
    },
    LIMIT_MS,
  );

  rootTest(
    "is upgraded over itself, and a release back",
    async () => {
      const root = emptyRoot("upgraded");
      for (const version of ["0.1.0", "0.1.1", "0.1.0"]) {
        const { code, stderr } = await dpkg(root, ["--install", archive(version)]);
        expect({ version, code, stderr: stderr.replace(/^dpkg: warning: downgrading.*\n/, "") }).toEqual({
          version,
          code: 0,
          stderr: "",
        });
        expect(lstatSync(`${root}/opt/cni/bin/heddle`).isFile()).toBe(true);
      }
    },
    LIMIT_MS,
  );

  rootTest(
    "has running network managers read its drop-ins, restarts neither, and says what waits for a start",
    async () => {
      const bin = dir.in("managers");
      mkdirSync(bin);
      const log = dir.in("calls");
      const programs = {
        systemctl: '[ "$2" != is-active ] || [ "$3" = "$RUNS" ]',
        networkctl: ":",
        nmcli: ":",
      };
      for (const [name, does] of Object.entries(programs))
        writeFileSync(`${bin}/${name}`, `#!/bin/sh\necho "${name} $*" >> ${log}\n${does}\n`, { mode: 0o755 });
      // A system with systemd, in mounts of its own.
      const booted = `mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && PATH=${bin} exec /bin/sh "$0" "$@"`;
      const postinst = async (runs: string, ...words: readonly string[]) => {
        rmSync(log, { force: true });
        const script = inProject("packaging/debian/postinst");
        const { stdout } = await run(["unshare", "--mount", "sh", "-c", booted, script, ...words], {
          env: { ...plainEnv, RUNS: runs },
        });
        const reloads = readFileSync(log, "utf8").split("\n").slice(2, -1);
        return { stdout, reloads: reloads.filter((line) => !line.includes("is-active")) };
      };
      const waits = expect.stringMatching(
        /^heddle: systemd-networkd .* only after its next start .*\n$/,
      ) as string;
      const networkd = "systemd-networkd.service";
      expect(await postinst(networkd, "configure")).toEqual({
        stdout: waits,
        reloads: ["networkctl reload"],
      });
      expect(await postinst(networkd, "configure", "0.1.0")).toEqual({
        stdout: "",
        reloads: ["networkctl reload"],
      });
      expect(await postinst("NetworkManager.service", "configure")).toEqual({
        stdout: "",
        reloads: ["nmcli general reload conf"],
      });
      expect(await postinst("neither", "configure")).toEqual({ stdout: "", reloads: [] });
    },
    LIMIT_MS,
  );

  rootTest(
    "replaces plugins that nobody owns only if told",
    async () => {
      const root = emptyRoot("taken");
      mkdirSync(`${root}/opt/cni/bin`, { recursive: true });
      writeFileSync(`${root}/opt/cni/bin/bridge`, "somebody else's", { mode: 0o755 });
      const refused = await dpkg(root, ["--install", archive("0.1.0")]);
      expect(refused.code).not.toBe(0);
      expect(refused.stderr).toContain("/opt/cni/bin has plugins of somebody else's: bridge");
      expect(readFileSync(`${root}/opt/cni/bin/bridge`, "utf8")).toBe("somebody else's");
      const { code } = await dpkg(root, ["--install", archive("0.1.0")], { HEDDLE_REPLACE: "yes" });
      expect(code).toBe(0);
      expect(readlinkSync(`${root}/opt/cni/bin/bridge`)).toBe("heddle");
      rmSync(root, { recursive: true });
    },
    LIMIT_MS,
  );

  rootTest(
    "asks for every name that it would take, also when it is upgraded",
    async () => {
      const root = emptyRoot("names");
      const bin = `${root}/opt/cni/bin`;
      mkdirSync(bin, { recursive: true });
      for (const name of ["heddle", "macvtap", "heddle-chain"]) writeFileSync(`${bin}/${name}`, "a stranger");
      symlinkSync("elsewhere", `${bin}/flannel`);
      for (const call of [["install"], ["upgrade", "0.0.9"]]) {
        const { code, stderr } = await run(["sh", inProject("packaging/debian/preinst"), ...call], {
          env: { ...plainEnv, DPKG_ROOT: root },
          mustSucceed: false,
        });
        expect({ code, names: stderr.split("\n")[0]?.split(": ").at(-1) }).toEqual({
          code: 1,
          names: "heddle flannel heddle-chain macvtap",
        });
      }
      rmSync(root, { recursive: true });
    },
    LIMIT_MS,
  );

  rootTest(
    "replaces what heddle install placed, and a copy of the image, whose plugins are small files",
    async () => {
      const root = emptyRoot("installed");
      const bin = `${root}/opt/cni/bin`;
      await run([await ensureBuilt(), "install", "--cni-bin-dir", bin], { env: plainEnv });
      rmSync(`${bin}/ptp`);
      writeFileSync(`${bin}/ptp`, PLUGIN_STUB, { mode: 0o755 });
      const { code, stderr } = await dpkg(root, ["--install", archive("0.1.0")]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect((await dpkg(root, ["--verify", "heddle"])).stdout).toBe("");
      expect(readlinkSync(`${bin}/ptp`)).toBe("heddle");
      rmSync(root, { recursive: true });
    },
    LIMIT_MS,
  );
});
