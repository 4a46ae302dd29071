/** `heddle cni validate`: reads the files, checks them, prints what was found and sets the exit code. */
import { statSync } from "node:fs";
import { dirname, join } from "node:path";
import { splitPath } from "../../cni/invoke.ts";
import { configFiles, readText } from "../../cni/load.ts";
import { fromSystem, isNetError, NetError } from "../../errors.ts";
import { openNetlink } from "../../netlink/socket.ts";
import { namedDevice } from "../../netstate/device.ts";
import { findUplink } from "../../netstate/routing-facts.ts";
import { print } from "../output.ts";
import { type Checked, toJson, toText } from "./finding.ts";
import { checkFile, type Source, type Surroundings } from "./network.ts";

const ENDINGS = [".conflist", ".conf", ".json"];

/** Prints every finding; the exit code is 1 if one of them is an error. Directories stand for the configurations in them. */
export async function validateFiles(paths: readonly string[], json: boolean): Promise<void> {
  const pluginPath = splitPath(process.env["CNI_PATH"]);
  const checked: Checked[] = [];
  for (const file of paths.flatMap(filesOf)) checked.push(...(await checkPath(file, pluginPath)));
  const findings = checked.flatMap((c) => c.findings);
  const count = (severity: string): number => findings.filter((f) => f.severity === severity).length;
  if (json) print(JSON.stringify(checked.flatMap(toJson), undefined, 2));
  else {
    for (const line of checked.flatMap(toText)) print(line);
    print(summary(checked.length, count("error"), count("warning")));
  }
  if (count("error") > 0) process.exitCode = 1;
}

/** One file, and those beside it with further plugins of its list. Plugins of others are looked for in `pluginPath`. */
export async function checkPath(file: string, pluginPath: readonly string[]): Promise<readonly Checked[]> {
  const around: Surroundings = { pluginPath, beside, device: namedDevice, uplink };
  const source = sourceOf(file);
  return "findings" in source ? [source] : checkFile(source, around);
}

/** Undefined also where nobody may ask, as in some builds of images. */
function uplink(): string | undefined {
  try {
    using socket = openNetlink("route");
    return findUplink(socket)?.name;
  } catch (e) {
    if (!isNetError(e, "sys/call")) throw e;
    return undefined;
  }
}

const plural = (n: number, word: string): string => `${n} ${word}${n === 1 ? "" : "s"}`;
const summary = (files: number, errors: number, warnings: number): string =>
  `${plural(files, "file")}: ${errors + warnings === 0 ? "nothing found" : `${plural(errors, "error")}, ${plural(warnings, "warning")}`}`;

/** @throws config/not-found for a directory without configurations */
function filesOf(path: string): readonly string[] {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) return [path];
  const files = configFiles(path, ENDINGS);
  if (files.length === 0)
    throw new NetError("config/not-found", { what: "network configuration", where: path });
  return files;
}

/** The file's text; one that cannot be read is a finding, so that the others are still checked. */
function sourceOf(file: string): Source | Checked {
  try {
    return { file, text: readText(file) };
  } catch (thrown) {
    const e = fromSystem(thrown);
    if (!(e instanceof NetError)) throw e;
    const span = { start: 0, end: 0 };
    return { file, text: "", findings: [{ severity: "error", path: "", message: e.message, span }] };
  }
}

const beside: Surroundings["beside"] = ({ file }, network) =>
  configFiles(join(dirname(file), network), [".conf"]).map((path) => ({ file: path, text: readText(path) }));
