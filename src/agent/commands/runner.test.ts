/** The runner with real programs: a script that writes down what it was run with. */
import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import {
  type CommandName,
  type CommandPeer,
  type CommandWish,
  readCommands,
  valuesOf,
  wishOf,
} from "../../fabric/commands/wish.ts";
import { publics, subnets } from "../../testing/fabric.ts";
import { tempDir } from "../../testing/temp-dir.ts";
import { openCommandRecord } from "./record.ts";
import { type CommandReport, openCommandRunner, REMOVAL_TRIES } from "./runner.ts";

/** `note WORD …` writes down the word, the variables and the input; it fails while there is a file `WORD.fails`. */
const NOTE = `#!/bin/sh
cd "$(dirname "$0")"
read -r data
printf '%s\\n' "$*\${data:+ [$data]}" >> notes
[ "$1" != pre ] || echo "said by $2"
[ ! -e "$1.fails" ] || { echo "$1 is broken" >&2; exit 7; }
`;

const whole = subnets({ v4: "10.244.0.0/16" });
const host = valuesOf(whole, {}, publics({ at4: "192.0.2.1" }));
const ownOf = (n: number) =>
  valuesOf(whole, subnets({ v4: `10.244.${n}.0/24` }), publics({ at4: `192.0.2.${n}` }));
const peer = (n: number, data = ""): CommandPeer => ({ id: `host${n}`, values: ownOf(n), data });

function staged() {
  const stack = new AsyncDisposableStack();
  const dir = stack.use(tempDir("runner"));
  const note = dir.in("note");
  writeFileSync(note, NOTE);
  chmodSync(note, 0o755);
  const texts: Partial<Record<CommandName, string>> = {
    PreStartupCommand: `${note} pre $PUBLIC_IP`,
    PostStartupCommand: `${note} post $NETWORK $SUBNET`,
    ShutdownCommand: `${note} down $SUBNET`,
    SubnetAddCommand: `${note} add $SUBNET $PUBLIC_IP`,
    SubnetRemoveCommand: `${note} del $SUBNET $PUBLIC_IP`,
  };
  const wish = (peers?: readonly CommandPeer[], more: typeof texts = {}, n = 1): CommandWish =>
    wishOf(
      readCommands({ ...texts, ...more }, (_, why) => {
        throw new Error(why);
      }),
      host,
      peers && { values: ownOf(n), peers },
    );
  const clock = { now: 0 };
  const heard: string[] = [];
  const open = () =>
    stack.use(
      openCommandRunner({
        dir: dir.in("record"),
        now: () => clock.now,
        heard: ({ kind, text, node }) => heard.push([kind, node, text].join(" ")),
      }),
    );
  const runner = open();
  let seen = 0;
  return {
    dir,
    wish,
    heard,
    open,
    runner,
    /** What was run since the last look. */
    notes(): readonly string[] {
      const all = existsSync(dir.in("notes"))
        ? readFileSync(dir.in("notes"), "utf8").split("\n").slice(0, -1)
        : [];
      const now = all.slice(seen);
      seen = all.length;
      return now;
    },
    fail: (word: string) => writeFileSync(dir.in(`${word}.fails`), ""),
    /** Asks again and again, as the agent does, until nothing is to be tried any more; those are its reports. */
    async settle(wish: CommandWish | undefined): Promise<readonly CommandReport[]> {
      const reports: CommandReport[] = [];
      for (;;) {
        const report = await runner.bring(wish);
        reports.push(report);
        if (report.retryInMs === undefined && !report.more) return reports;
        clock.now += report.retryInMs ?? 0;
      }
    },
    mend: (word: string) => Bun.file(dir.in(`${word}.fails`)).delete(),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

describe("a runner", () => {
  test("prepares and starts the host, adds the others, and takes all away", async () => {
    await using s = staged();
    expect(await s.runner.bring(s.wish())).toMatchObject({ said: "said by 192.0.2.1", started: false });
    expect(s.notes()).toEqual(["pre 192.0.2.1"]);
    const peers = [peer(2, "mac 2"), peer(3)];
    expect(await s.runner.bring(s.wish(peers))).toEqual({
      said: "said by 192.0.2.1",
      started: true,
      more: false,
      clear: false,
      failures: [],
      givenUp: [],
    });
    expect(s.notes()).toEqual([
      "post 10.244.0.0/16 10.244.1.0/24",
      "add 10.244.2.0/24 192.0.2.2 [mac 2]",
      "add 10.244.3.0/24 192.0.2.3",
    ]);
    await s.runner.bring(s.wish(peers));
    expect(s.notes()).toEqual([]);
    expect(await s.runner.bring(undefined)).toMatchObject({ clear: true });
    expect(s.notes()).toEqual([
      "del 10.244.2.0/24 192.0.2.2 [mac 2]",
      "del 10.244.3.0/24 192.0.2.3",
      "down 10.244.1.0/24",
    ]);
    expect(existsSync(s.dir.in("record"))).toBe(false);
    expect(s.heard).toContain("line  PreStartupCommand: said by 192.0.2.1");
    expect(s.heard).toContain("done host2 SubnetAddCommand");
  });

  test("removes a peer as it was before it adds it as it is", async () => {
    await using s = staged();
    await s.runner.bring(s.wish([peer(2, "old"), peer(3)]));
    s.notes();
    await s.runner.bring(s.wish([peer(2, "new")]));
    expect(s.notes()).toEqual([
      "del 10.244.2.0/24 192.0.2.2 [old]",
      "del 10.244.3.0/24 192.0.2.3",
      "add 10.244.2.0/24 192.0.2.2 [new]",
    ]);
  });

  test("that takes over runs nothing again, and removes who left meanwhile", async () => {
    await using s = staged();
    await s.runner.bring(s.wish([peer(2, "a\\b"), peer(3)]));
    await s.runner[Symbol.asyncDispose]();
    s.notes();
    const next = s.open();
    expect(await next.bring(s.wish())).toMatchObject({ said: "said by 192.0.2.1" });
    expect(s.notes()).toEqual([]);
    expect(await next.bring(s.wish([peer(3)]))).toMatchObject({ started: true });
    expect(s.notes()).toEqual(["del 10.244.2.0/24 192.0.2.2 [a\\b]"]);
  });

  test("takes a host down by the commands that made it, and makes it by the new ones", async () => {
    await using s = staged();
    await s.runner.bring(s.wish([peer(2)]));
    s.notes();
    await s.open().bring(s.wish([peer(2)], { SubnetRemoveCommand: "false" }, 7));
    expect(s.notes()).toEqual([
      "del 10.244.2.0/24 192.0.2.2",
      "down 10.244.1.0/24",
      "pre 192.0.2.1",
      "post 10.244.0.0/16 10.244.7.0/24",
      "add 10.244.2.0/24 192.0.2.2",
    ]);
  });

  test("tries again what failed, and clears away before what that has left", async () => {
    await using s = staged();
    s.fail("add");
    const wish = s.wish([peer(2), peer(3)]);
    const failure = (node: string) => ({ text: "SubnetAddCommand: exit code 7: add is broken", node });
    const report = await s.runner.bring(wish);
    expect(report).toMatchObject({
      started: true,
      more: false,
      failures: [failure("host2"), failure("host3")],
    });
    expect(report.retryInMs).toBe(1_000);
    await s.mend("add");
    s.notes();
    expect((await s.runner.bring(wish)).failures).toHaveLength(2);
    expect(s.notes()).toEqual([]);
    expect((await s.settle(wish)).at(-1)).toMatchObject({ failures: [] });
    expect(s.notes()).toEqual([
      "del 10.244.2.0/24 192.0.2.2",
      "add 10.244.2.0/24 192.0.2.2",
      "del 10.244.3.0/24 192.0.2.3",
      "add 10.244.3.0/24 192.0.2.3",
    ]);
  });

  test("clears away what the first command may have left before it is tried again", async () => {
    await using s = staged();
    s.fail("pre");
    await s.runner.bring(s.wish());
    await s.mend("pre");
    expect((await s.settle(s.wish())).at(-1)).toMatchObject({ said: "said by 192.0.2.1", failures: [] });
    expect(s.notes()).toEqual(["pre 192.0.2.1", "down ", "pre 192.0.2.1"]);
  });

  test("does not go on before the first command has succeeded", async () => {
    await using s = staged();
    s.fail("pre");
    const report = await s.runner.bring(s.wish([peer(2)]));
    expect(report).toMatchObject({ started: false, more: false });
    expect(report.said).toBeUndefined();
    expect(report.failures).toEqual([{ text: "PreStartupCommand: exit code 7: pre is broken" }]);
    expect(s.notes()).toEqual(["pre 192.0.2.1"]);
    // The commands of another configuration do not wait.
    const other = s.wish(undefined, { PreStartupCommand: "echo other" });
    expect(await s.runner.bring(other)).toMatchObject({ said: "other", failures: [] });
  });

  test("gives up what it cannot take away, and goes on", async () => {
    await using s = staged();
    await s.runner.bring(s.wish([peer(2)]));
    s.notes();
    s.fail("del");
    const reports = await s.settle(s.wish([peer(2, "new")]));
    expect(reports.flatMap(({ givenUp }) => givenUp)).toEqual([
      { text: "SubnetRemoveCommand: exit code 7: del is broken; it is given up", node: "host2" },
    ]);
    const del = "del 10.244.2.0/24 192.0.2.2";
    expect(s.notes()).toEqual([
      ...Array.from({ length: REMOVAL_TRIES }, () => del),
      "add 10.244.2.0/24 192.0.2.2 [new]",
    ]);
  });

  test("says nothing of a peer that never was there and cannot be removed", async () => {
    await using s = staged();
    s.fail("add");
    s.fail("del");
    await s.runner.bring(s.wish([peer(2)]));
    expect(await s.runner.bring(s.wish([]))).toMatchObject({ more: false, failures: [], givenUp: [] });
  });

  test("runs nothing for a command that there is not", async () => {
    await using s = staged();
    const none = {
      PreStartupCommand: "",
      PostStartupCommand: "",
      ShutdownCommand: "",
      SubnetRemoveCommand: "",
    };
    expect(await s.runner.bring(s.wish([peer(2)], none))).toMatchObject({ said: "", started: true });
    expect(await s.runner.bring(undefined)).toMatchObject({ clear: true });
    expect(s.notes()).toEqual(["add 10.244.2.0/24 192.0.2.2"]);
  });

  test("refuses to announce a book", async () => {
    await using s = staged();
    // The second is short, but not as it is written.
    for (const PreStartupCommand of ["seq 10000", "/bin/sh -c 'yes \"<\" | head -n 3000'"]) {
      const { failures } = await s.runner.bring(s.wish(undefined, { PreStartupCommand }));
      expect(failures[0]?.text).toContain("more than can be announced");
    }
  });

  test("ends with its command, which the next one does again", async () => {
    await using s = staged();
    await s.runner.bring(s.wish([]));
    const add = { SubnetAddCommand: `/bin/sh -c 'echo begun >> ${s.dir.in("notes")}; exec sleep 1000'` };
    await s.runner.bring(s.wish([], add));
    s.notes();
    const running = s.runner.bring(s.wish([peer(2)], add));
    while (!s.notes().includes("begun")) await Bun.sleep(1);
    await s.runner[Symbol.asyncDispose]();
    expect(await running).toMatchObject({ failures: [], more: true });
    s.notes();
    // Other commands now: what was begun is taken away first.
    await s.open().bring(s.wish([peer(2)]));
    expect(s.notes()[0]).toBe("del 10.244.2.0/24 192.0.2.2");
  });
});

test("a command that an agent left when it was killed is ended by the next one, and done again", async () => {
  await using s = staged();
  const add = { SubnetAddCommand: `/bin/sh -c 'echo $$ >> ${s.dir.in("notes")}; exec sleep 1000'` };
  const running = s.runner.bring(s.wish([peer(2)], add));
  let pid = 0;
  while (pid === 0) {
    await Bun.sleep(1);
    pid = Number(s.notes().find((line) => /^\d+$/.test(line)) ?? 0);
  }
  // As a new agent would find it.
  await s.open().bring(s.wish([peer(2)]));
  expect(s.notes()).toContain("del 10.244.2.0/24 192.0.2.2");
  await running;
  expect(existsSync(`/proc/${pid}`)).toBe(false);
});

describe("the record", () => {
  test("of an earlier start of the kernel counts for nothing", async () => {
    await using s = staged();
    await s.runner.bring(s.wish([peer(2)]));
    const { prepared, peers } = openCommandRecord(s.dir.in("record"), "another").known();
    expect([prepared, peers.size]).toEqual([undefined, 0]);
    expect(readdirSync(s.dir.in("record"))).toEqual([]);
  });

  test("is read without what no agent has written", async () => {
    await using s = staged();
    await s.runner.bring(s.wish([peer(2), peer(3)]));
    const record = s.dir.in("record");
    const first = readdirSync(record).find((name) => !name.endsWith(".json")) ?? "";
    writeFileSync(`${record}/${first}`, "{");
    writeFileSync(`${record}/nonsense`, "{}");
    writeFileSync(`${record}/${"0".repeat(32)}`, JSON.stringify(peer(4)));
    expect(openCommandRecord(record).known().peers.size).toBe(1);
    expect(readdirSync(record)).toHaveLength(3);
    writeFileSync(`${record}/host.json`, "[]");
    expect(openCommandRecord(record).known().prepared).toBeUndefined();
  });

  test("in a directory that others may write to is refused", () => {
    using other = tempDir("record");
    chmodSync(other.path, 0o777);
    expect(() => openCommandRecord(other.in("x"))).toThrow("could forge records");
  });
});
