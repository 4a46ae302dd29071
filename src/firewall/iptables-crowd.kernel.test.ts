import { expect, test } from "bun:test";
import { inNetns, openNetns } from "../sys/netns.ts";
import { iptablesIn } from "../testing/iptables.ts";
import { describeWith } from "../testing/needs.ts";
import { testNetns } from "../testing/netns.ts";
import { allLive, markOf, masquerade, stateOf } from "../testing/nftables.ts";
import { plainEnv } from "../testing/run.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { openIptables } from "./iptables.ts";
import { mayHaveChains } from "./iptables-probe.ts";

/** The iptables backend when several want the same: interfaces of one container, processes for one port. */
describeWith({ root: true, programs: ["ip", "iptables-restore"] })("many at once", () => {
  test("the second interface of a container keeps one chain when it is applied again alone", async () => {
    await using netns = await testNetns();
    using folder = tempDir("iptables");
    const { run: program } = iptablesIn(netns.name, "nft", folder.in("unused"));
    using handle = openNetns(netns.path);
    const backend = openIptables({
      run: program,
      lockPath: folder.in("lock"),
      probe: (family, names) => inNetns(handle, () => mayHaveChains(family, names)),
    });
    const one = stateOf(masquerade("10.99.0.2/24"));
    const two = stateOf(masquerade("10.97.0.2/24"));
    backend.apply(one, markOf(1), allLive);
    backend.apply(two, markOf(2), allLive);
    backend.remove(markOf(1), one);
    backend.apply(two, markOf(2), allLive);
    const marked = async (): Promise<number> =>
      (await netns.exec(["iptables-nft-save", "-t", "nat"])).stdout.split(`--comment ${markOf(2)}`).length -
      1;
    expect(await marked()).toBe(1);
    backend.remove(markOf(2), two);
    expect(await marked()).toBe(0);
  });

  test("of many that want one port exactly one gets it; the shared rules are made once, and all can go at once", async () => {
    await using netns = await testNetns();
    using folder = tempDir("iptables");
    const script = (work: string): string => `
      import { openIptables } from ${JSON.stringify(`${import.meta.dir}/iptables.ts`)};
      import { parseIp, prefix } from ${JSON.stringify(`${import.meta.dir}/../net/ip.ts`)};
      const n = Number(process.env.N);
      const target = parseIp("10.99.0." + n).value;
      const rule = { kind: "port-mapping", protocol: "tcp", target, targetPort: 80, subnet: prefix(target, 24), masquerade: "local" };
      const state = { backend: "iptables", network: "mynet", containerId: "c" + n, rules: [{ ...rule, hostPort: 8080 }] };
      const backend = openIptables({ lockPath: ${JSON.stringify(folder.in("lock"))} });
      const mark = "heddle-portmap-0123456789ab-00000000000000" + n;
      ${work}`;
    const each = (work: string) =>
      Promise.all(
        Array.from({ length: 8 }, (_, i) =>
          netns.exec([process.execPath, "-e", script(work)], { env: { ...plainEnv, N: String(10 + i) } }),
        ),
      );
    const outcomes = await each(`
      try { backend.apply(state, mark, (name) => ({ name, containerId: "" })); console.log("got it"); }
      catch (e) { console.log(e.code); }
      backend.apply({ ...state, containerId: "d" + n, rules: [{ ...rule, hostPort: 9000 + n }] }, mark + "d", (name) => ({ name, containerId: "" }));`);
    const said = outcomes.map((o) => o.stdout.trim()).sort();
    expect(said).toEqual(["got it", ...Array<string>(7).fill("port/taken")]);
    const rules = (await netns.exec(["iptables-save", "-t", "nat"])).stdout.split("\n");
    for (const chain of ["PREROUTING", "OUTPUT", "POSTROUTING", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SETMARK"])
      expect(rules.filter((l) => l.startsWith(`-A ${chain} `)).length).toBe(1);
    expect(rules.filter((l) => l.includes("-j DNAT")).length).toBe(9);
    await each("for (const m of [mark, mark + 'd']) for (const _ of [1, 2]) backend.remove(m);");
    const left = (await netns.exec(["iptables-save", "-t", "nat"])).stdout;
    expect(left).not.toMatch(/DNAT --to|CNI-DN-|heddle-portmap/);
  });
});
