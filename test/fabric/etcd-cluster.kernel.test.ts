/** A cluster of three real members of etcd, of which some die, stop without a word, and come back. */
import { afterAll, describe, expect, test } from "bun:test";
import { NetError } from "../../src/errors.ts";
import { openEtcd } from "../../src/fabric/store/etcd.ts";
import { openKvRegistry } from "../../src/providers/flannel/kv-registry.ts";
import type { Registry } from "../../src/providers/flannel/registry.ts";
import { type EtcdCluster, etcdTree, startEtcd } from "../../src/testing/etcd.ts";
import { insideNetns } from "../../src/testing/inside-netns.ts";
import { Seen } from "../../src/testing/kv-contract.ts";
import { announcementOf, nodesAfter, Told } from "../../src/testing/registry-contract.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";

insideNetns(
  import.meta.path,
  {
    title: "a cluster of three in a namespace serves whatever happens to one member",
    prepare: async () => (await etcdTree()) !== undefined,
    timeoutMs: 90_000,
  },
  () => describe("a cluster of three", tests),
);

function tests(): void {
  const temp = tempDir("etcd");
  let started: EtcdCluster | undefined;
  const threeMembers = async (): Promise<EtcdCluster> =>
    (started ??= await startEtcd({ root: (await etcdTree()) ?? "", dir: temp.path, port: 2379, members: 3 }));
  afterAll(async () => {
    await started?.[Symbol.asyncDispose]();
    temp[Symbol.dispose]();
  });

  test(
    "loses nothing when one member after the other dies under load and comes back",
    async () => {
      const cluster = await threeMembers();
      const kv = openEtcd({ endpoints: cluster.urls, requestMs: 2000 });
      const { revision } = await kv.list("/p/");
      await using seen = new Seen(kv, "/p/", revision);
      let isOver = false;
      const written: string[] = [];
      const writing = (async () => {
        for (let n = 0; !isOver; n++) {
          try {
            await kv.put(`/p/${n}`, "");
            written.push(`/p/${n}=`);
          } catch (e) {
            // Sent and not answered: whether it is done is not known, and the next one goes on.
            if (!(e instanceof NetError) || !e.is("store/unavailable")) throw e;
          }
        }
      })();
      for (const member of cluster.members) {
        const before = written.length;
        await member.kill();
        while (written.length < before + 10) await Bun.sleep(20);
        await member.start();
      }
      isOver = true;
      await writing;
      const { entries } = await kv.list("/p/");
      const told = await seen.changes(entries.length);
      expect(new Set(told).size).toBe(told.length);
      expect(told.toSorted()).toEqual(entries.map(({ key }) => `${key}=`).toSorted());
      expect(written.filter((text) => !told.includes(text))).toEqual([]);
      kv.close();
    },
    patience(40_000),
  );

  test(
    "without a majority serves nobody, keeps what it had, and goes on with it",
    async () => {
      const cluster = await threeMembers();
      const kv = openEtcd({ endpoints: cluster.urls, requestMs: 500 });
      await until(async () => (await kv.put("/q/a", "1")) !== undefined);
      const { revision } = await kv.list("/q/");
      await using seen = new Seen(kv, "/q/", revision);
      const [, second, third] = cluster.members;
      await Promise.all([second?.kill(), third?.kill()]);
      for (const work of [() => kv.get("/q/a"), () => kv.put("/q/a", "lost"), () => kv.list("/q/")])
        expect(await work().catch((e: unknown) => e)).toMatchObject({ code: "store/unavailable" });
      await Promise.all([second?.start(), third?.start()]);
      await until(async () => (await kv.put("/q/b", "2")) !== undefined);
      await seen.said("/q/b=2");
      expect((await kv.list("/q/")).entries.map(({ key }) => key)).toEqual(["/q/a", "/q/b"]);
      kv.close();
    },
    patience(40_000),
  );

  test(
    "tells a registry everything again when what changed was forgotten before it could be told",
    async () => {
      const cluster = await threeMembers();
      const [first, ...others] = cluster.members;
      const prefix = "/net";
      const kv = openEtcd({ endpoints: others.map(({ url }) => url), requestMs: 1000 });
      const host = (): Registry => openKvRegistry({ kv, prefix });
      await until(async () => (await kv.put("/net/config", '{"Network":"10.1.0.0/16"}')) !== undefined);
      const stays = await host().acquire(announcementOf(0), undefined);
      const leaving = host();
      const goes = await leaving.acquire(announcementOf(1), undefined);
      const here = openKvRegistry({ kv: openEtcd({ endpoints: [first?.url ?? ""] }), prefix });
      await using told = new Told((signal) => here.nodes(signal));
      await told.first(() => nodesAfter(told.news).size === 2);
      await first?.kill();
      await until(async () => (await kv.put("/net/elsewhere", "")) !== undefined);
      await leaving.release(goes);
      const comes = await host().acquire(announcementOf(2), undefined);
      await compact(others[0]?.url ?? "", (await kv.list("/net/")).revision);
      await first?.start();
      await told.first(() => nodesAfter(told.news).has(comes.node.id));
      expect([...nodesAfter(told.news).keys()].toSorted()).toEqual([stays.node.id, comes.node.id].toSorted());
      expect(told.news.filter(({ kind }) => kind === "all")).toHaveLength(2);
      kv.close();
      here.close();
    },
    patience(40_000),
  );

  test(
    "is followed further when the member that was followed stops without a word",
    async () => {
      const cluster = await threeMembers();
      for (const [index, member] of cluster.members.slice(0, 2).entries()) {
        const others = cluster.urls.filter((_, i) => i !== index);
        const watcher = openEtcd({ endpoints: [member.url], requestMs: 500, quietMs: 200 });
        // Each begins with a member of its own choice.
        const several = Array.from({ length: 6 }, () =>
          openEtcd({ endpoints: cluster.urls, requestMs: 500, quietMs: 200 }),
        );
        const writer = openEtcd({ endpoints: others, requestMs: 2000 });
        const { revision } = await writer.list("/r/");
        const all = several.map((kv) => new Seen(kv, "/r/", revision));
        await using lone = new Seen(watcher, "/r/", revision);
        await until(async () => (await writer.put("/r/a", `${index} before`)) !== undefined);
        await Promise.all([lone, ...all].map((seen) => seen.changes(1)));
        member.pause();
        await until(async () => (await writer.put("/r/a", `${index} after`)) !== undefined);
        await Promise.all(all.map((seen) => seen.said(`/r/a=${index} after`)));
        member.resume();
        await lone.said(`/r/a=${index} after`);
        expect([...new Set(lone.flat())]).toEqual([`/r/a=${index} before`, `/r/a=${index} after`]);
        for (const kv of [watcher, writer, ...several]) kv.close();
        expect(await Promise.all(all.map((seen) => seen.end()))).toEqual(all.map(() => undefined));
      }
    },
    patience(40_000),
  );
}

/** The store forgets its changes up to now. */
async function compact(url: string, revision: number): Promise<void> {
  const body = JSON.stringify({ revision: String(revision), physical: true });
  const response = await fetch(`${url}/v3/kv/compaction`, { method: "POST", body });
  expect([response.status, await response.text()]).toEqual([200, expect.any(String)]);
}

/** Tries until it succeeds: a cluster that elects a leader serves nobody for a moment. */
async function until(done: () => Promise<boolean>): Promise<void> {
  while (!(await done().catch(() => false))) await Bun.sleep(50);
}
