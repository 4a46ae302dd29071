/**
 * `heddle lab`: hosts on one machine, to try a network and to break it. This file has the words; what they do is in
 * `run.ts`, which is loaded when one of them is used.
 */
import { type Command, Option } from "commander";
import { NetError } from "../../errors.ts";
import {
  ipChoices,
  type LabSpec,
  MAX_HOSTS,
  MAX_SUBNETS,
  parseLabName,
  providerNames,
  storeKinds,
  underlayKinds,
} from "../../lab/model.ts";

/** The options of `lab up` as they come from the command line, numbers read. */
export interface UpOptions extends Pick<
  LabSpec,
  "name" | "hosts" | "underlay" | "subnets" | "ip" | "provider" | "store"
> {
  readonly containers: number;
  readonly mtu: number;
  readonly offload: "on" | "off";
  readonly backend?: string;
  readonly json?: boolean;
}
interface Named {
  readonly name: string;
}
interface Json {
  readonly json?: boolean;
}
const JSON_OPTION = ["--json", "Print JSON"] as const;
const run = () => import("./run.ts");

const number =
  (option: string, min: number, max: number) =>
  (word: string): number => {
    const value = Number(word);
    if (!/^\d+$/.test(word) || value < min || value > max)
      throw new NetError("usage/invalid", {
        why: `${option}: "${word}" is not a number of ${min} to ${max}`,
      });
    return value;
  };

const named = (word: string): string => {
  const found = parseLabName(word);
  if (!found.ok) throw new NetError("usage/invalid", { why: found.why });
  return found.value;
};

/** Where the examples of a newcomer end. */
const DEFAULT_NAME = "lab";
const DEFAULT_HOSTS = 3;
const MOST_CONTAINERS = 50;

export function addLabCommands(program: Command): void {
  const lab = program
    .command("lab")
    .description(
      "Hosts on this machine, each with a network and a state of its own, to try a network and to break it",
    )
    // What follows the words of `exec` belongs to another program.
    .enablePositionalOptions();
  const command = (words: string, about: string): Command =>
    lab.command(words).description(about).option("-n, --name <lab>", "The lab's name", named, DEFAULT_NAME);
  addUp(command);
  addLooking(command);
  addContainers(command);
  addFaults(lab);
  command("down", "Remove the lab: end every program in it and take away all that it has")
    .option("--all", "Remove every lab")
    .option(...JSON_OPTION)
    .action(async (options: Named & Json & { readonly all?: boolean }) => (await run()).down(options));
}

type Add = (words: string, about: string) => Command;

function addUp(command: Add): void {
  command("up", "Make a lab: its hosts, the underlay that joins them, and a container or more in each")
    .option("--hosts <number>", "How many hosts", number("--hosts", 1, MAX_HOSTS), DEFAULT_HOSTS)
    .option(
      "--containers <number>",
      "How many containers in each host",
      number("--containers", 0, MOST_CONTAINERS),
      1,
    )
    .addOption(
      new Option("--provider <name>", "What joins containers of different hosts")
        .choices(providerNames)
        .default("none"),
    )
    .option("--backend <type>", "How the provider goes between hosts: vxlan, host-gw, …, or Backend as JSON")
    .addOption(
      new Option("--store <kind>", "Where the provider's hosts find each other: a shared directory, or etcd")
        .choices(storeKinds)
        .default("file"),
    )
    .addOption(
      new Option("--underlay <kind>", "One subnet for all, or several and a router between them")
        .choices(underlayKinds)
        .default("flat"),
    )
    .option("--subnets <number>", "Of a routed underlay", number("--subnets", 1, MAX_SUBNETS), 2)
    .addOption(new Option("--ip <families>", "IPv4, IPv6 or both").choices(ipChoices).default("4"))
    .option("--mtu <bytes>", "Of the hosts' links", number("--mtu", 1280, 9000), 1500)
    .addOption(
      new Option("--offload <state>", "Segmentation and receive offloads of the hosts' links")
        .choices(["on", "off"])
        .default("on"),
    )
    .option(...JSON_OPTION)
    .action(async (options: UpOptions) => (await run()).up(options));
}

function addLooking(command: Add): void {
  command("list", "List the labs of this machine")
    .option(...JSON_OPTION)
    .action(async (options: Json) => (await run()).list(options));
  command("status", "Draw the lab: hosts, subnets, containers, programs, faults")
    .option("--svg <file>", "Write the picture as SVG")
    .option(...JSON_OPTION)
    .action(async (options: Named & Json & { readonly svg?: string }) => (await run()).status(options));
  command("ping", "Ping every host and container from every other one; exit code 1 if one is not reached")
    .option("--count <number>", "Requests to each", number("--count", 1, 20), 2)
    .option(
      "--timeout <milliseconds>",
      "How long the last answers are waited for",
      number("--timeout", 1, 60_000),
      2000,
    )
    .option(...JSON_OPTION)
    .action(async (options: Named & Json & { readonly count: number; readonly timeout: number }) =>
      (await run()).ping(options),
    );
  command("capture", "Write what passes a link into a file for tcpdump and Wireshark, until Ctrl-C")
    .argument("<host>", "The host, or HOST/CONTAINER")
    .argument("<link>", "The link, for example eth0")
    .argument("<file>", "The file")
    .option("--count <number>", "End after so many packets", number("--count", 1, 1_000_000_000))
    .action(async (host: string, link: string, file: string, options: Named & { readonly count?: number }) =>
      (await run()).captureLink(host, link, file, options),
    );
}

function addContainers(command: Add): void {
  command("exec", "Run a program in a host or a container; without one, a shell")
    .argument("<host>", "The host, or HOST/CONTAINER")
    .argument("[command...]", "The program and its arguments, after --")
    .passThroughOptions()
    .action(async (host: string, words: readonly string[], options: Named) =>
      (await run()).exec(host, words, options),
    );
  command("attach", "Make a container in a host and attach it by the host's own network configuration")
    .argument("<host>", "The host")
    .argument("<container>", "The container's name")
    .option("--network <name>", "The network (default: the first one of the host's /etc/cni/net.d)")
    .option(...JSON_OPTION)
    .action(async (host: string, container: string, options: Named & Json & { readonly network?: string }) =>
      (await run()).attachContainer(host, named(container), options),
    );
  command("detach", "Detach a container of a host and remove it")
    .argument("<host>", "The host")
    .argument("<container>", "The container's name")
    .action(async (host: string, container: string, options: Named) =>
      (await run()).detachContainer(host, named(container), options),
    );
}

const MOST_DELAY_MS = 10_000;

function addFaults(lab: Command): void {
  const fault = lab.command("fault").description("Break something, and mend it");
  const command: Add = (words, about) =>
    fault.command(words).description(about).option("-n, --name <lab>", "The lab's name", named, DEFAULT_NAME);
  const hosts = (word: string): readonly string[] => word.split(",").map(named);
  command("cut", "Pull a host's cable")
    .argument("<host>", "The host")
    .action(async (host: string, options: Named) => (await run()).fault({ kind: "cut", host }, options));
  command("partition", "Lose what hosts of one side send to those of the other")
    .argument("<hosts>", "The hosts of one side, with commas between", hosts)
    .argument("<others>", "Those of the other", hosts)
    .action(async (one: readonly string[], other: readonly string[], options: Named) =>
      (await run()).fault({ kind: "partition", one, other }, options),
    );
  command("delay", "Let everything that is sent to a host arrive later")
    .argument("<host>", "The host")
    .argument("<milliseconds>", "How much later", number("delay", 0, MOST_DELAY_MS))
    .action(async (host: string, delayMs: number, options: Named) =>
      (await run()).fault({ kind: "delay", host, delayMs }, options),
    );
  command("loss", "Lose a share of what is sent to a host")
    .argument("<host>", "The host")
    .argument("<percent>", "How much of it", number("loss", 0, 100))
    .action(async (host: string, percent: number, options: Named) =>
      (await run()).fault({ kind: "loss", host, percent }, options),
    );
  command("heal", "Mend what is cut, parted, delayed or lost: of one host, or all")
    .argument("[host]", "The host")
    .action(async (host: string | undefined, options: Named) => (await run()).healFaults(host, options));
  command("move-address", "Give a host other addresses in the underlay")
    .argument("<host>", "The host")
    .option(...JSON_OPTION)
    .action(async (host: string, options: Named & Json) => (await run()).move(host, options));
  command("start", "Start a program of a host again that has ended")
    .argument("<host>", "The host")
    .argument("<program>", "Its name, as status shows it")
    .action(async (host: string, program: string, options: Named) =>
      (await run()).start(host, program, options),
    );
  const signals = [
    ["kill", "End a program of a host by SIGKILL", "SIGKILL"],
    ["stop", "Stop a program of a host where it is", "SIGSTOP"],
    ["cont", "Let a stopped program go on", "SIGCONT"],
  ] as const;
  for (const [words, about, signal] of signals)
    command(words, about)
      .argument("<host>", "The host")
      .argument("<program>", "Its name, as status shows it")
      .action(async (host: string, program: string, options: Named) =>
        (await run()).signalTo(host, program, signal, options),
      );
}
