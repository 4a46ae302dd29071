/** `heddle forwarder`: the user-space data path, between a TUN device and UDP. */
import { type Command, InvalidArgumentError, Option } from "commander";

/** The options as they come from the command line. */
export interface ForwarderCommandOptions {
  readonly device: string;
  readonly mtu: number;
  readonly listen: string;
  readonly port: number;
  readonly own?: readonly string[];
  readonly control?: string;
  readonly state?: string;
  readonly takeOver?: boolean;
  readonly buffer: number;
}

const numberFrom =
  (least: number, most: number) =>
  (text: string): number => {
    const n = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
    if (n >= least && n <= most) return n;
    throw new InvalidArgumentError(`It must be a number from ${least} to ${most}.`);
  };

export function addForwarderCommand(program: Command): void {
  program
    .command("forwarder")
    .description("Carry packets between a TUN device and other hosts over UDP, as Flannel's udp backend does")
    .option("--device <name>", "The TUN device; it is made if it is not there", "flannel0")
    .addOption(
      new Option("--mtu <bytes>", "The device's MTU: the underlay's, less 28 (48 over IPv6)")
        .default(1472)
        .argParser(numberFrom(576, 65_507)),
    )
    .option("--listen <address>", "Where datagrams are taken; :: takes both families", "0.0.0.0")
    .addOption(new Option("--port <number>", "The UDP port").default(8285).argParser(numberFrom(1, 65_535)))
    .option(
      "--own <address...>",
      "This host's addresses on the device: what cannot go on is answered from them",
    )
    .option(
      "--control <file>",
      "The control socket; by default in /run/heddle/forwarder, by the device's name",
    )
    .option("--state <file>", "Where the peers are kept; by default beside the control socket")
    .option("--take-over", "Go on with the device and the sockets of the forwarder that runs, if one does")
    .addOption(
      new Option("--buffer <bytes>", "The UDP socket's buffers, each direction")
        .default(4 << 20)
        .argParser(numberFrom(65_536, 1 << 30)),
    )
    .action(async (options: ForwarderCommandOptions) => {
      const { runForwarderCommand } = await import("./forwarder-run.ts");
      await runForwarderCommand(options);
    });
}
