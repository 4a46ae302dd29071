/** The configuration directory: files, the plugins that they name, and which network a runtime takes. */
import { basename, dirname, resolve } from "node:path";
import { placesFor } from "../../install-places.ts";
import { some } from "../commands.ts";
import { type HostFacts, networksOf } from "../facts.ts";
import { cannotTell, type Check, type Finding, note, problem, warning, whenSeen } from "../finding.ts";
import { allSeen } from "../seen.ts";
import type { ConfFile } from "../gather/config.ts";
import type { PluginFile, PluginLookup } from "../gather/runtimes.ts";

type Facts = Pick<HostFacts, "config" | "plugins" | "runtimes" | "sockets">;

export const config: Check<Facts> = {
  ids: [
    "config-none",
    "config-invalid",
    "config-ignored",
    "config-elsewhere",
    "network-twice",
    "network-first",
    "plugin-missing",
    "plugin-not-executable",
    "plugin-link",
    "dhcp-daemon",
  ],
  run: (facts) => {
    const { files, ignored, dir } = facts.config;
    return [
      ...whenSeen(["config-none", "config-invalid", "network-twice", "network-first"], files, (all) => [
        ...(all.length === 0
          ? [
              note(
                "config-none",
                dir,
                `${dir} has no .conflist, .conf or .json`,
                "heddle cni validate FILE, then copy it there",
              ),
            ]
          : []),
        ...all.flatMap(invalid),
        ...twice(all),
        ...firstOf(all),
      ]),
      ...whenSeen("config-ignored", ignored, (names) =>
        names.length === 0
          ? []
          : [
              note(
                "config-ignored",
                dir,
                `no runtime reads ${some(names)} in ${dir}`,
                "rename what is meant to be read: NAME.conflist",
              ),
            ],
      ),
      ...elsewhere(facts),
      ...plugins(facts),
      ...dhcp(facts),
    ];
  },
};

function invalid({ file: of, findings }: ConfFile): readonly Finding[] {
  if (!findings.known) return [cannotTell("config-invalid", findings.why, of)];
  return findings.value.map(({ file, line, column, severity, message }) =>
    (severity === "error" ? problem : warning)(
      "config-invalid",
      file,
      `${file}:${line}:${column}: ${message}`,
      `heddle cni validate ${file}`,
    ),
  );
}

function twice(files: readonly ConfFile[]): readonly Finding[] {
  const byName = Map.groupBy(
    files.filter((f) => f.network !== undefined),
    (f) => f.network?.name ?? "",
  );
  return [...byName].flatMap(([name, same]) => {
    const names = same.map((f) => basename(f.file));
    if (same.length < 2) return [];
    const seen = `network ${name} stands in ${names.join(", ")}; heddle cni and cnitool take ${chosenByName(same)}`;
    return [
      warning("network-twice", name, seen, `remove all but one of ${same.map((f) => f.file).join(", ")}`),
    ];
  });
}

/** Whoever looks for a network by its name reads lists before single plugins. */
function chosenByName(files: readonly ConfFile[]): string {
  const list = files.find((f) => f.file.endsWith(".conflist"));
  return basename((list ?? files[0])?.file ?? "");
}

function firstOf(files: readonly ConfFile[]): readonly Finding[] {
  const [first] = files;
  if (first === undefined || files.length < 2) return [];
  const name = basename(first.file);
  if (!first.findings.known) return [cannotTell("network-first", first.findings.why, name)];
  const usable = files.find((f) => f.network !== undefined);
  if (usable === first)
    return [
      note(
        "network-first",
        name,
        `of ${files.length} files, containerd and CRI-O take ${name} (network ${first.network?.name}) unless they are told otherwise`,
      ),
    ];
  const then =
    usable === undefined
      ? "and no other can be read either"
      : `runtimes take ${basename(usable.file)} instead, or none`;
  return [
    warning(
      "network-first",
      name,
      `${name} comes first and cannot be read; ${then}`,
      `heddle cni validate ${first.file}`,
    ),
  ];
}

function plugins({ config: all, plugins: lookups }: Facts): readonly Finding[] {
  const fact = allSeen({ networks: networksOf(all), lookups });
  return whenSeen(["plugin-missing", "plugin-not-executable", "plugin-link"], fact, (known) =>
    [...new Set(known.networks.flatMap((n) => n.plugins))].flatMap((type) => {
      const users = known.networks.filter((n) => n.plugins.includes(type));
      return known.lookups.flatMap((lookup) => aboutPlugin(type, some(users.map((n) => n.name)), lookup));
    }),
  );
}

function aboutPlugin(type: string, networks: string, { of, dirs, found }: PluginLookup): readonly Finding[] {
  const { state, file = "", link }: PluginFile = found.get(type) ?? { state: "missing" };
  if (state === "missing") {
    const nowhere = link === undefined ? "" : `; ${file} is a link to ${link}, which is not there`;
    const seen = `network ${networks} names the plugin ${type}, which is not in ${dirs.join(":")} (${of})${nowhere}`;
    const dir = link === undefined ? (dirs[0] ?? "/opt/cni/bin") : dirname(file);
    const remove = link === undefined ? [] : [`rm ${file}`];
    return [problem("plugin-missing", type, seen, ...remove, `heddle install --cni-bin-dir ${dir}`)];
  }
  if (state === "executable") return link === undefined ? [] : aboutLink(type, file, link);
  const seen = `${file}, which network ${networks} names, cannot be executed`;
  return [problem("plugin-not-executable", type, seen, `chmod 755 ${file}`)];
}

/** A name that others copy their own plugin to is no place for a link: they write over what it leads to. */
function aboutLink(type: string, file: string, link: string): readonly Finding[] {
  const dir = dirname(file);
  if (!placesFor(dir).stubs.some((stub) => stub === type)) return [];
  const target = resolve(dir, link);
  const isOurs = basename(target) === "heddle";
  const cure = isOurs ? [] : [`or, if that program is meant: cp --remove-destination ${target} ${file}`];
  const seen = `${file} is a link to ${link}, and not a file of its own`;
  return [warning("plugin-link", type, seen, `rm ${file}; heddle install --cni-bin-dir ${dir}`, ...cure)];
}

/** A runtime that reads another directory than the one that was looked at. */
function elsewhere({ config: { dir }, runtimes: { confDirs } }: Facts): readonly Finding[] {
  return whenSeen("config-elsewhere", confDirs, (known) =>
    known
      .filter((c) => c.dir.replace(/(.)\/+$/, "$1") !== dir.replace(/(.)\/+$/, "$1"))
      .map(({ of, dir: other }) =>
        note(
          "config-elsewhere",
          of,
          `${of} reads configurations in ${other}, and ${dir} was looked at`,
          `NETCONFPATH=${other} heddle doctor`,
        ),
      ),
  );
}

function dhcp({ config: all, sockets }: Facts): readonly Finding[] {
  const fact = allSeen({ sockets, networks: networksOf(all) });
  return whenSeen("dhcp-daemon", fact, (known) =>
    known.networks.flatMap(({ name, dhcpSocket: path }): readonly Finding[] => {
      const state = path === undefined ? "listens" : known.sockets.get(path);
      if (path === undefined || state === "listens") return [];
      if (state === "unclear") {
        const why = `${path} is there, and who listens at it, if anybody, is not in this network namespace`;
        return [cannotTell("dhcp-daemon", why, name)];
      }
      const seen = `network ${name} gets addresses by DHCP, and there is no socket ${path}`;
      const cure = ["systemctl enable --now heddle-dhcp.socket", "or start by hand: heddle dhcp-daemon"];
      return [problem("dhcp-daemon", name, seen, ...cure)];
    }),
  );
}
