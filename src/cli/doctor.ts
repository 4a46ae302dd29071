/** `heddle doctor`: what on this host keeps containers from their networks, or soon will, and what to do about it. */
import type { Command } from "commander";
import { NetError } from "../errors.ts";
import type { DoctorOptions } from "./doctor/run.ts";

export function addDoctorCommand(program: Command): void {
  program
    .command("doctor")
    .description("Look for what keeps containers on this host from their networks, and say what to do")
    .option("--json", "Print JSON")
    .option("--all", "Also list what is in order")
    .option("--fix", "Put right what is Heddle's own")
    .option("--dry-run", "With --fix: say what would be done, and do nothing")
    .option("--cache-dir <dir>", "Where attachments are remembered (default: /var/lib/cni)")
    .addHelpText(
      "after",
      "\nA finding is a problem, a warning, a note, or unknown: what could not be seen, and why, mostly without root.\n" +
        "The exit code is 1 if there is a problem. --fix cleans up after containers that are gone, puts back lost rules and\n" +
        "takes away rights to write Heddle's state; it touches nothing of others. docs/doctor.md explains every finding.",
    )
    .action(async (options: DoctorOptions) => {
      if (process.platform !== "linux")
        throw new NetError("feature/missing", { feature: "heddle doctor", needs: "Linux" });
      if (options.dryRun === true && options.fix !== true)
        throw new NetError("usage/invalid", { why: "--dry-run goes with --fix" });
      const { runDoctor } = await import("./doctor/run.ts");
      await runDoctor(options);
    });
}
