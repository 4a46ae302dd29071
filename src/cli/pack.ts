/** `heddle cni pack`: finds a list, packs it, and prints it or puts it into a file. */
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { loadNetwork, readNetworkFile } from "../cni/load.ts";
import { packList } from "../cni/pack.ts";
import { confDirOf } from "./cni-request.ts";
import { print } from "./output.ts";

const ENDINGS = [".conflist", ".conf", ".json"];

/**
 * `list` is a file if it looks like one, else the name of a network.
 * @throws config/invalid if the list cannot be packed, config/not-found, sys/call, and as lists are read
 */
export function packNetwork(list: string, output: string | undefined): void {
  const isFile = list.includes("/") || ENDINGS.includes(extname(list));
  const network = isFile ? readNetworkFile(list) : loadNetwork(confDirOf(process.env), list);
  const text = `${JSON.stringify(packList(network), undefined, 2)}\n`;
  if (output === undefined) print(text);
  else replaceFile(output, text);
}

/** A runtime that reads the directory meanwhile finds the old file or the new one; it passes over the draft's name. */
function replaceFile(path: string, text: string): void {
  const draft = join(dirname(path), `.${basename(path)}.${process.pid}`);
  try {
    writeFileSync(draft, text, { mode: 0o644, flag: "wx" });
    renameSync(draft, path);
  } finally {
    rmSync(draft, { force: true });
  }
}
