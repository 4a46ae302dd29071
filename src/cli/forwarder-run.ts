/** The forwarder as a command: its options checked, its signals, its log on standard error. */
import { NetError } from "../errors.ts";
import { runForwarder } from "../forwarder/process.ts";
import { parseIfName } from "../net/ifname.ts";
import { type Ip, parseIp } from "../net/ip.ts";
import { runDir } from "../netstate/record.ts";
import { endingSignal } from "./daemon.ts";
import type { ForwarderCommandOptions } from "./forwarder.ts";
import { complain } from "./output.ts";

/** Runs until a signal, a request or a successor ends it. The device and routes over it stay. */
export async function runForwarderCommand(options: ForwarderCommandOptions): Promise<void> {
  if (process.platform !== "linux")
    throw new NetError("feature/missing", { feature: "heddle forwarder", needs: "Linux" });
  const ended = endingSignal();
  Bun.unsafe.setJITPolicy(1);
  const device = parseIfName(options.device);
  if (!device.ok) throw new NetError("usage/invalid", { why: `--device: ${device.why}` });
  const dir = `${runDir()}/forwarder`;
  const control = absolute("--control", options.control ?? `${dir}/${device.value}.sock`);
  const why = await runForwarder(
    {
      device: device.value,
      mtuBytes: options.mtu,
      listen: address("--listen", options.listen),
      port: options.port,
      own: (options.own ?? []).map((own) => address("--own", own)),
      control,
      state: absolute("--state", options.state ?? `${dir}/${device.value}.json`),
      takeOver: options.takeOver === true,
      bufferBytes: options.buffer,
    },
    ended.then((signal) => `got ${signal}`),
    complain,
  );
  complain(`ends: ${why}`);
}

function address(option: string, text: string): Ip {
  const parsed = parseIp(text);
  if (!parsed.ok) throw new NetError("usage/invalid", { why: `${option}: ${parsed.why}` });
  return parsed.value;
}

function absolute(option: string, path: string): string {
  if (path.startsWith("/")) return path;
  throw new NetError("usage/invalid", { why: `${option} must be an absolute path, not "${path}"` });
}
