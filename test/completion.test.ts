/** The completion scripts in their own shells, with what is on a host: bash here, zsh and fish from Debian's packages. */
import { describe, expect } from "bun:test";
import { existsSync } from "node:fs";
import { heddleOfFile } from "../src/testing/executable.ts";
import { plainEnv, run } from "../src/testing/run.ts";
import { patience } from "../src/testing/slowdown.ts";
import { type Ground, ground, groundTest } from "./runtimes/ground.ts";
import { rootTree } from "./runtimes/root-tree.ts";

const heddle = heddleOfFile();
const tree = await rootTree("shells", "bookworm", ["zsh", "fish", "bash"]);

const list = (name: string): string =>
  JSON.stringify({
    cniVersion: "1.0.0",
    name,
    plugins: [{ type: "bridge", ipam: { type: "host-local", subnet: "10.99.0.0/24" } }],
  });

/** What each shell offers for a line; the last word is the one that is being written. */
const offers: Readonly<Record<string, (on: Ground, line: readonly string[]) => Promise<string>>> = {
  bash: async (on, line) => {
    const words = line.map((word) => `'${word}'`).join(" ");
    const ask = `COMP_WORDS=(${words}); COMP_CWORD=${line.length - 1}; _heddle; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return (await on.exec(["bash", "-c", `source /script; ${ask}`])).stdout;
  },
  zsh: async (on, line) => {
    const words = line.map((word) => `'${word}'`).join(" ");
    // The pieces of zsh's own system that the script calls, which only a terminal has.
    const system = "compdef() { }; _files() { }; _describe() { print -l -- ${(P)2} }";
    const ask = `words=(${words}); CURRENT=${line.length}; _heddle`;
    return (await on.exec(["zsh", "-f", "-c", `${system}; source /script; ${ask}`])).stdout;
  },
  fish: async (on, line) =>
    (await on.exec(["fish", "--no-config", "-c", `source /script; complete -C '${line.join(" ")}'`])).stdout,
};

describe.each(Object.keys(offers))("%s", (shell) => {
  groundTest(tree)(
    "completes commands, options, and what is on the host, each in its place",
    async () => {
      await using on = await ground(tree, heddle);
      on.write("/script", (await run([heddle.at("heddle"), "completion", shell])).stdout);
      on.write("/etc/cni/net.d/1.conflist", list("blue-net"));
      on.write("/etc/cni/net.d/2.conflist", list("$(touch /evil)"));
      on.write("/etc/cni/net.d/3.conflist", "{");
      await on.exec(["ip", "netns", "add", "one"]);
      const offered = async (...line: readonly string[]): Promise<string> =>
        (await offers[shell]?.(on, ["heddle", ...line])) ?? "";
      expect(await offered("ins")).toContain("install");
      expect(await offered("cni", "")).toMatch(/add[^]*del/);
      expect(await offered("install", "--fo")).toContain("--force");
      expect(await offered("cni", "add", "")).toContain("blue-net");
      expect(await offered("cni", "add", "blue-net", "/run/")).toContain("/run/netns/one");
      expect(await offered("completion", "")).toContain("fish");
      await on.exec(["heddle", "cni", "add", "blue-net", "/run/netns/one"], {
        env: { ...plainEnv, CNI_PATH: "/opt/cni/bin" },
      });
      const [{ key }] = JSON.parse((await on.exec(["heddle", "ps", "--json"])).stdout) as [{ key: string }];
      for (const command of ["show", "reload", "log"]) expect(await offered(command, "")).toContain(key);
      expect(await offered("gc", "")).not.toContain(key);
      // The name of a network is not obeyed.
      expect(existsSync(on.path("/evil"))).toBe(false);
    },
    patience(60_000),
  );
});
