/** Findings about the files of plugins, where each runtime looks for them. */
import { describe, expect } from "bun:test";
import { renameSync, rmSync, symlinkSync } from "node:fs";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { CRI, doctorHost, PLUGINS, type Report, said } from "./host.ts";

const heddle = heddleOfFile();
const hostTest = testWith({ root: true, programs: ["ip", "nft", "nsenter", "sysctl", "unshare"] });

describe("the doctor reports", () => {
  hostTest("plugins that are missing where each runtime looks, if CNI_PATH does not say where", async () => {
    await using on = await doctorHost(heddle);
    const missing = async (): Promise<readonly string[]> => {
      const { stdout } = await on.host.cli(["doctor", "--json"], { CNI_PATH: "" });
      return said({ ...(JSON.parse(stdout) as Report), code: 0 }, "plugin-missing").filter((s) =>
        s.includes("portmap"),
      );
    };
    on.put("/etc/containerd/config.toml", `${CRI}.cni]\n  bin_dir = "${heddle.cniPath}"\n`);
    expect(await missing()).toEqual([]);
    on.put("/etc/crio/crio.conf", '[crio.network]\nplugin_dirs = ["/nowhere"]\n');
    on.put(
      "/etc/crio/crio.conf.d/10-more.conf",
      '[crio.network]\nplugin_dirs = ["/etc/plugins/", "/nowhere"]\n',
    );
    expect(await missing()).toEqual([
      "problem portmap: network mynet names the plugin portmap, which is not in /etc/plugins:/nowhere (CRI-O)",
    ]);
    on.put("/etc/crio/crio.conf.d/10-more.conf", "[crio.network\n");
    const { stdout } = await on.host.cli(["doctor", "--json"], { CNI_PATH: "" });
    expect(said({ ...(JSON.parse(stdout) as Report), code: 0 }, "plugin-missing")).toEqual([
      expect.stringMatching(/^unknown : cannot tell because \/etc\/crio\/crio\.conf\.d\/10-more\.conf: TOML/),
    ]);
  });

  hostTest("flannel as a link that flanneld would write through, or that leads nowhere", async () => {
    await using on = await doctorHost(heddle);
    const dir = `${PLUGINS}/opt/cni/bin`;
    const found = async (): Promise<readonly string[]> => {
      const { stdout } = await on.host.cli(["doctor", "--json"], { CNI_PATH: "" });
      const report = { ...(JSON.parse(stdout) as Report), code: 0 };
      return ["plugin-link", "plugin-missing"]
        .flatMap((id) => said(report, id))
        .filter((s) => s.includes("flannel"));
    };
    on.put("/etc/containerd/config.toml", `${CRI}.cni]\n  bin_dir = "${dir}"\n`);
    on.network("50-x.conflist", { cniVersion: "1.1.0", name: "x", plugins: [{ type: "flannel" }] });
    on.put(`${dir}/flannel`, "#!/bin/true\n", { mode: 0o755 });
    expect(await found()).toEqual([]);
    renameSync(on.path(`${dir}/flannel`), on.path(`${dir}/other`));
    symlinkSync("other", on.path(`${dir}/flannel`));
    expect(await found()).toEqual([
      `warning flannel: ${dir}/flannel is a link to other, and not a file of its own`,
    ]);
    rmSync(on.path(`${dir}/other`));
    expect(await found()).toEqual([
      `problem flannel: network x names the plugin flannel, which is not in ${dir} (containerd); ${dir}/flannel is a link to other, which is not there`,
    ]);
  });
});
