import type { Command } from "commander";
import { print } from "../output.ts";
import type { Description } from "./description.ts";

/** `heddle show KEY`: one attachment, drawn from the container's interface to the uplink. */
interface Options {
  readonly json?: boolean;
  readonly cacheDir?: string;
}

export function addShowCommand(program: Command): void {
  program
    .command("show")
    .description("Draw one attachment from the container's interface to the uplink, by what the kernel has")
    .argument("<key>", "The beginning of its key, as heddle ps prints it, or of its container's id")
    .option("--cache-dir <dir>", "Where attachments are remembered (default: /var/lib/cni)")
    .option("--json", "Print JSON")
    .action(async (key: string, options: Options) => show(key, options));
}

/** Lines of this many characters where no terminal says otherwise. */
const WIDTH = 100;
const LEAST_WIDTH = 40;

async function show(key: string, { json, cacheDir }: Options): Promise<void> {
  const description = await describe(key, cacheDir);
  if (json === true) return print(JSON.stringify(description, undefined, 2));
  const { terminal } = await import("../terminal.ts");
  const { draw } = await import("./draw.ts");
  const width = Math.max(LEAST_WIDTH, terminal().columns ?? WIDTH);
  print(draw(description, { width, now: Date.now() }).join("\n"));
}

/** The one that is meant, of those that are known and of what the kernel alone has. */
async function describe(key: string, cacheDir: string | undefined): Promise<Description> {
  const { findAttachment, listAttachments } = await import("../../cni/attachments.ts");
  const { describeAttachment, describeLost } = await import("./gather.ts");
  const { lostAttachments } = await import("../ps/lost.ts");
  const { listUnrecorded } = await import("../../netstate/unrecorded.ts");
  const known = listAttachments(cacheDir);
  const lost = lostAttachments(listUnrecorded(), known);
  const all = [
    ...known.map((a) => ({
      key: a.key,
      network: a.network,
      containerId: a.containerId,
      ifname: a.ifname,
      plugins: a.plugins,
      describe: () => describeAttachment(a),
    })),
    ...lost.map((l) => ({
      key: l.key,
      network: l.network ?? "an unknown network",
      containerId: "",
      ifname: l.component,
      describe: () => describeLost(l),
    })),
  ];
  return findAttachment(all, key).describe();
}
