import type { Command } from "commander";
import { print } from "../output.ts";

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
  const { findAttachment, listAttachments } = await import("../../cni/attachments.ts");
  const { describeAttachment } = await import("./gather.ts");
  const description = await describeAttachment(findAttachment(listAttachments(cacheDir), key));
  if (json === true) return print(JSON.stringify(description, undefined, 2));
  const { terminal } = await import("../terminal.ts");
  const { draw } = await import("./draw.ts");
  const width = Math.max(LEAST_WIDTH, terminal().columns ?? WIDTH);
  print(draw(description, { width, now: Date.now() }).join("\n"));
}
