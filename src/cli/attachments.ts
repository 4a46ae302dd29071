/**
 * Putting right what is attached on this host: `heddle gc` cleans up after containers that are gone, `heddle reload` puts
 * back what others took away from those that live.
 */
import type { Command } from "commander";
import { complain, print } from "./output.ts";

interface JsonOption {
  readonly json?: boolean;
}

export function addAttachmentCommands(program: Command): void {
  program
    .command("gc")
    .description("Detach containers whose network namespace is gone")
    .option("--json", "Print JSON")
    .option("--cache-dir <dir>", "Where attachments are remembered (default: /var/lib/cni)")
    .action(async (options: JsonOption & { readonly cacheDir?: string }) => collect(options));
  program
    .command("reload")
    .description("Put back firewall rules and shared settings of live attachments")
    .option("--json", "Print JSON")
    .action(async ({ json }: JsonOption) => putBack(json === true));
}

async function collect({ json, cacheDir }: JsonOption & { readonly cacheDir?: string }): Promise<void> {
  const { collectDead } = await import("../cni/collect.ts");
  const { confDirOf } = await import("./cni-request.ts");
  const { pluginHost } = await import("../plugins/registry.ts");
  const { absolutePluginPath } = await import("./plugin-path.ts");
  const runtime = {
    host: pluginHost(true),
    path: absolutePluginPath(process.env["CNI_PATH"] ?? "/opt/cni/bin"),
    env: process.env,
    log: complain,
    ...(cacheDir === undefined ? {} : { cacheDir }),
  };
  const done = await collectDead(runtime, confDirOf(process.env));
  const lines = done.map((d) => ({
    what: `container ${d.containerId} (${d.ifname}, network ${d.network})`,
    failure: d.failure,
  }));
  tell(lines, "detached", "Nothing to clean up.", json === true);
}

async function putBack(json: boolean): Promise<void> {
  const { describeOwner } = await import("../netstate/alive.ts");
  const { reload } = await import("../netstate/reload.ts");
  const done = await reload();
  const lines = done.map(({ record, failure }) => ({
    what: `${record.owner.component} of ${describeOwner(record)}`,
    failure,
  }));
  tell(lines, "restored", "Nothing is attached that could be put back.", json);
}

/** One line a thing; the exit code is 1 if one failed. */
function tell(
  lines: readonly { readonly what: string; readonly failure: Error | undefined }[],
  verb: string,
  nothing: string,
  json: boolean,
): void {
  if (lines.some((l) => l.failure)) process.exitCode = 1;
  if (json)
    return print(
      JSON.stringify(
        lines.map((l) => ({
          what: l.what,
          ok: !l.failure,
          ...(l.failure ? { error: l.failure.message } : {}),
        })),
        undefined,
        2,
      ),
    );
  if (lines.length === 0) return print(nothing);
  for (const { what, failure } of lines)
    print(failure ? `failed     ${what}: ${failure.message}` : `${verb.padEnd(10)} ${what}`);
}
