/** What a command line may name of this host, for completion: each a word that means nothing to a shell, and what it is. */
import { readdirSync } from "node:fs";
import { printable } from "./terminal.ts";

/** As arguments, and what options take, are called. */
export const valueKinds = ["key", "network", "netns", "shell", "lab", "host"] as const;
export type ValueKind = (typeof valueKinds)[number];
export const isValueKind = (word: string): word is ValueKind =>
  (valueKinds as readonly string[]).includes(word);

export interface Value {
  readonly word: string;
  readonly about: string;
}

/** Where `ip netns` has its names. */
const NAMED = "/run/netns";

/** bash expands the words that it is offered, and files and networks are named by anybody. */
const PLAIN = /^[\w./-]+$/;

const values: { readonly [K in ValueKind]: () => Promise<readonly Value[]> } = {
  key: async () => {
    const { listAttachments } = await import("../cni/attachments.ts");
    return listAttachments().map((a) => ({
      word: a.key,
      about: `${a.ifname} of ${a.containerId} on ${a.network}`,
    }));
  },
  network: async () => {
    const { confDirOf } = await import("./cni-request.ts");
    const { configFiles, readNetworkFile } = await import("../cni/load.ts");
    return configFiles(confDirOf(process.env), [".conflist", ".conf", ".json"]).flatMap((file) =>
      orNone(() => {
        const { name, plugins } = readNetworkFile(file);
        return [{ word: name, about: plugins.map((p) => p.type).join(", ") }];
      }),
    );
  },
  netns: async () =>
    orNone(() =>
      readdirSync(NAMED).map((name) => ({ word: `${NAMED}/${name}`, about: "network namespace" })),
    ),
  lab: async () => {
    const { listLabs } = await import("../lab/state.ts");
    return listLabs().map((word) => ({ word, about: "lab" }));
  },
  host: async () => {
    const [{ findState, listLabs }, { hostNames }] = await Promise.all([
      import("../lab/state.ts"),
      import("../lab/model.ts"),
    ]);
    return listLabs().flatMap((lab) =>
      orNone(() => {
        const state = findState(lab);
        return state === undefined
          ? []
          : hostNames(state.spec).map((word) => ({ word, about: `host of the lab ${lab}` }));
      }),
    );
  },
  shell: async () => ["bash", "zsh", "fish"].map((word) => ({ word, about: "shell" })),
};

/** Who completes a line wants no complaints about files. */
function orNone(list: () => readonly Value[]): readonly Value[] {
  try {
    return list();
  } catch {
    return [];
  }
}

/** The values of a kind. */
export async function valuesOf(kind: ValueKind): Promise<readonly Value[]> {
  const all = await values[kind]();
  return all
    .filter(({ word }) => PLAIN.test(word))
    .map(({ word, about }) => ({ word, about: printable(about) }));
}
