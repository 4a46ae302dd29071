/** What plugins tell the journal, and `heddle log` shows: with a real journal in a mount namespace of the test's own. */
import { describe, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { projectDir } from "../scripts/paths.ts";
import { attachmentKey } from "../src/cni/attachments.ts";
import { ownerOf, thingOf } from "../src/docker/task.ts";
import { markOf } from "../src/netstate/owner.ts";
import { encodeJournal, sendToJournal } from "../src/sys/journal.ts";
import { heddleOfFile, runPlugin } from "../src/testing/executable.ts";
import { testWith } from "../src/testing/needs.ts";
import { plainEnv, run } from "../src/testing/run.ts";
import { tempDir } from "../src/testing/temp-dir.ts";

const JOURNALD = "/lib/systemd/systemd-journald";
const rootTest = testWith({
  root: true,
  programs: ["unshare", "journalctl", "bash", "curl"],
  feature: existsSync(JOURNALD) || "needs systemd's journal",
});
const heddle = heddleOfFile();

describe("an entry of the journal", () => {
  test("has a line for a field, and a value of several lines with its length before it", () => {
    const bytes = Buffer.from(encodeJournal({ MESSAGE: "a\nb", PRIORITY: 3, HEDDLE_KEY: undefined }));
    expect(bytes.toString("latin1")).toBe("MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\nPRIORITY=3\n");
  });

  test("is not missed where there is no journal", () => {
    using dir = tempDir("journal");
    expect(sendToJournal({ MESSAGE: "x" }, dir.in("nobody"))).toBe(false);
  });
});

/** A host with a journal and nothing else in `/run`; it ends with the script. */
const withJournal = (script: string): readonly string[] => [
  ...["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc", "--", "bash", "-c"],
  `set -eu
mount -t tmpfs tmpfs /run
mkdir -p /run/log /run/systemd/journal /run/systemd/journald.conf.d
printf '[Journal]\\nRateLimitIntervalSec=0\\n' > /run/systemd/journald.conf.d/all.conf
${JOURNALD} & until [ -S /run/systemd/journal/socket ]; do sleep 0.01; done
${script}`,
];

describe("a plugin's failure", () => {
  rootTest(
    "is in the journal with what it was about, and heddle log shows it by container or key",
    async () => {
      using dir = tempDir("journal");
      const conf = { cniVersion: "1.0.0", name: "mynet", type: "bridge", ipam: { type: "host-local" } };
      writeFileSync(dir.in("conf.json"), JSON.stringify(conf));
      const script = `
export CNI_COMMAND=ADD CNI_CONTAINERID=c1 CNI_IFNAME=eth0 CNI_NETNS=/run/netns/gone CNI_PATH=${heddle.cniPath}
${heddle.at("bridge")} < ${dir.in("conf.json")} > /dev/null || true
CNI_CONTAINERID=other ${heddle.at("bridge")} < ${dir.in("conf.json")} > /dev/null || true
journalctl --sync
${heddle.at("heddle")} log c1 --json
key=$(${heddle.at("heddle")} log other --json | sed -n 's/.*"key": "\\(.*\\)".*/\\1/p')
${heddle.at("heddle")} log $key
${heddle.at("heddle")} log nobody`;
      const { stdout } = await run(withJournal(script), { env: plainEnv });
      const end = stdout.indexOf("]\n") + 1;
      const entries = JSON.parse(stdout.slice(0, end)) as readonly Readonly<Record<string, unknown>>[];
      expect(entries).toEqual([
        {
          at: expect.stringMatching(/^20\d\d-\d\d-\d\dT[\d:.]+Z$/) as string,
          level: "error",
          message: expect.stringMatching(/^bridge ADD mynet c1 eth0: .*netns\/gone/) as string,
          key: expect.stringMatching(/^[0-9a-f]{12}$/) as string,
          plugin: "bridge",
          verb: "ADD",
          network: "mynet",
          containerId: "c1",
          ifname: "eth0",
          step: "netns/invalid",
          errno: "ENOENT",
          durationMs: expect.any(Number) as number,
        },
      ]);
      expect(stdout.slice(end)).toMatch(
        /^\n20\S+Z {2}error {4}[0-9a-f]{12} {2}bridge ADD mynet other eth0: .*\nNothing was told\.\n$/,
      );
    },
  );

  rootTest("is not needed for an entry: a call that took long is told of as well", async () => {
    using dir = tempDir("journal");
    const ipam = { type: "host-local", dataDir: dir.in("ipam"), subnet: "192.0.2.0/24" };
    const conf = { cniVersion: "1.0.0", name: "mynet", type: "host-local", ipam };
    writeFileSync(dir.in("conf.json"), JSON.stringify(conf));
    const script = `
export CNI_COMMAND=ADD CNI_IFNAME=eth0 CNI_NETNS=/run/netns/c CNI_PATH=${heddle.cniPath}
CNI_CONTAINERID=quick ${heddle.at("host-local")} < ${dir.in("conf.json")} > /dev/null
flock ${dir.in("ipam/mynet/lock")} sleep 1.3 & until ! flock --nonblock ${dir.in("ipam/mynet/lock")} true; do :; done
CNI_CONTAINERID=slow ${heddle.at("host-local")} < ${dir.in("conf.json")} > /dev/null
journalctl --sync
${heddle.at("heddle")} log`;
    const { stdout } = await run(withJournal(script), { env: plainEnv });
    expect(stdout).toMatch(
      /^20\S+Z {2}warning {2}[0-9a-f]{12} {2}host-local ADD mynet slow eth0: took \d\.\d s\n$/,
    );
  });

  /** An entry as a plugin writes it, with the rights of this user. */
  const told = (user: number, fields: Readonly<Record<string, string>>): string => {
    const all = { SYSLOG_IDENTIFIER: "heddle", HEDDLE_PLUGIN: "bridge", ...fields };
    const lines = Object.entries(all).map(([name, value]) => `${name}=${value}\\n`);
    return `printf '${lines.join("")}' | setpriv --reuid=${user} --clear-groups logger --journald`;
  };

  rootTest("counts if root told it, and for its own user, and for nobody else", async () => {
    const script = `
${told(0, { MESSAGE: "by root", HEDDLE_CONTAINER_ID: "c1" })}
${told(65534, { MESSAGE: "by nobody", HEDDLE_CONTAINER_ID: "c1" })}
${told(65533, { MESSAGE: "by another", HEDDLE_CONTAINER_ID: "c1" })}
journalctl --sync
chmod -R a+rX /run/log
${heddle.at("heddle")} log c1
${heddle.at("heddle")} log
cp ${heddle.path} /run/heddle-of-all && chmod 755 /run/heddle-of-all
setpriv --reuid=65534 --clear-groups /run/heddle-of-all log c1
setpriv --reuid=65534 --clear-groups unshare --user --map-root-user /run/heddle-of-all log c1`;
    const { stdout } = await run(withJournal(script), { env: plainEnv });
    const lines = stdout.trim().split("\n");
    expect(lines.map((line) => line.split("  ").at(-1)?.trim())).toEqual([
      ...["by root", "by root"],
      ...["by root", "by nobody"],
      ...["by root", "by nobody"],
    ]);
  });

  rootTest("is found by its whole key or id, however much was told since", async () => {
    using dir = tempDir("journal");
    // More than the newest that are read of everything.
    const noise = `import { sendToJournal } from "${projectDir}/src/sys/journal.ts";
for (let i = 0; i < 10_100;) {
  const fields = { MESSAGE: "noise", SYSLOG_IDENTIFIER: "heddle", HEDDLE_PLUGIN: "bridge", HEDDLE_CONTAINER_ID: "other" };
  if (sendToJournal(fields)) i++;
  else await Bun.sleep(1);
}`;
    writeFileSync(dir.in("noise.ts"), noise);
    const script = `
${told(0, { MESSAGE: "long ago", HEDDLE_KEY: "0123456789ab", HEDDLE_CONTAINER_ID: "c1" })}
${process.execPath} ${dir.in("noise.ts")}
journalctl --sync
${heddle.at("heddle")} log c1
${heddle.at("heddle")} log 0123456789ab
${heddle.at("heddle")} log oth | tail -n 1`;
    const { stdout } = await run(withJournal(script), { env: plainEnv });
    const lines = stdout.trim().split("\n");
    expect(lines.map((line) => line.split("  ").at(-1)?.trim())).toEqual(["long ago", "long ago", "noise"]);
  });

  rootTest("is shown without what a terminal obeys, and whole", async () => {
    const long = "x".repeat(5_000);
    const script = `
${told(0, { MESSAGE: `a\\033[2Jb ${long} end` })}
journalctl --sync
${heddle.at("heddle")} log`;
    const { stdout } = await run(withJournal(script), { env: plainEnv });
    expect(stdout).toEndWith(`a?[2Jb ${long} end\n`);
  });

  rootTest("is shown although another file of the journal is damaged, which is said", async () => {
    const script = `
${told(0, { MESSAGE: "here" })}
journalctl --sync --rotate
cd /run/log/journal/*
head -c 1000000 system@*.journal > system@1.journal
${heddle.at("heddle")} log
! ${heddle.at("heddle")} log --since nonsense`;
    const { stdout, stderr } = await run(withJournal(script), { env: plainEnv });
    expect(stdout).toEndWith("  here\n");
    expect(stderr).toContain("is truncated, ignoring file.");
    expect(stderr).toContain("Failed to parse");
  });

  rootTest("of Docker's driver is there by its endpoint, and so is a call that took long", async () => {
    using dir = tempDir("journal");
    const [network, first, second] = ["0f".repeat(32), "a1".repeat(32), "b2".repeat(32)] as const;
    const socket = dir.in("heddle.sock");
    const ask = (call: string, request: object): string =>
      `curl --silent --fail --unix-socket ${socket} --data '${JSON.stringify(request)}' http://plugin/NetworkDriver.${call} > /dev/null`;
    const options = { mode: "macvlan", macvlan_mode: "passthru", parent: "up0" };
    const made = {
      NetworkID: network,
      Options: { "com.docker.network.generic": options },
      IPv4Data: [{ Pool: "10.77.0.0/24", Gateway: "10.77.0.1/24" }],
    };
    const connected = [first, second].flatMap((EndpointID, i) => {
      const ids = { NetworkID: network, EndpointID };
      const address = { Interface: { Address: `10.77.0.${i + 2}/24` } };
      return [
        ask("CreateEndpoint", { ...ids, ...address }),
        ask("Join", { ...ids, SandboxKey: `/run/docker/netns/${i}` }),
      ];
    });
    const lock = `/run/heddle/attachments/${markOf(ownerOf(thingOf("endpoint", network, first)))}.pending`;
    const script = `
ip link add up0 type veth peer name wire && ip link set up0 up && ip link set wire up
HEDDLE_STATE_DIR=${dir.in("state")} ${heddle.at("heddle")} docker-plugin --socket ${socket} 2> ${dir.in("log")} &
until [ -S ${socket} ]; do sleep 0.01; done
${ask("CreateNetwork", made)}
# A parent has one link of this kind: the second endpoint gets none.
${connected.join("\n")}
flock ${lock} sleep 1.3 & until ! flock --nonblock ${lock} true; do :; done
${ask("DeleteEndpoint", { NetworkID: network, EndpointID: first })}
journalctl --sync
${heddle.at("heddle")} log --json`;
    const { stdout } = await run(withJournal(script), { env: plainEnv });
    const about = (containerId: string) => ({
      key: attachmentKey({ network, containerId, ifname: "eth" }),
      plugin: "docker",
      network,
      containerId,
      durationMs: expect.any(Number) as number,
    });
    expect(JSON.parse(stdout)).toMatchObject([
      {
        ...about(second),
        level: "error",
        verb: "NetworkDriver.Join",
        step: "resource/exists",
        errno: "EINVAL",
      },
      {
        ...about(first),
        level: "warning",
        verb: "NetworkDriver.DeleteEndpoint",
        message: expect.stringMatching(/ took \d\.\d s$/) as string,
      },
    ]);
  });

  test("is told to the caller all the same where there is no journal", async () => {
    const call = { command: "ADD", containerId: "c", netns: "/nowhere", ifname: "eth0" } as const;
    const { json } = await runPlugin(heddle.at("loopback"), call, {
      cniVersion: "1.0.0",
      name: "lo",
      type: "loopback",
    });
    expect(json).toMatchObject({ code: 8 });
  });
});
