/** `heddle cni pack`: finds a list, packs it, and prints it or puts it into a file. */
import { extname } from "node:path";
import { loadNetwork, readNetworkFile } from "../cni/load.ts";
import { packList } from "../cni/pack.ts";
import { confDirOf } from "./cni-request.ts";
import { print } from "./output.ts";
import { replaceFile } from "./replace-file.ts";

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
