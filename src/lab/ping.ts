/**
 * Everyone to everyone: a raw socket in each namespace, echo requests from all of them at once, and who has answered whom within
 * the time. Bounded in packets and in time; this process waits for both and does nothing else.
 */
import { type Family, type Ip, parseIp } from "../net/ip.ts";
import { inNetns, tryOpenNetns } from "../sys/netns.ts";
import { waitAnyReadable } from "../sys/poll.ts";
import { openIcmpSocket, type RawSocket } from "../sys/raw-socket.ts";
import { decodeReply, encodeEcho } from "./echo.ts";
import { addressIn, type SeenLab } from "./look.ts";
import { labPaths } from "./paths.ts";

/** One that pings and is pinged: a host or a container; what is outside is pinged alone. */
export interface Party {
  /** `host1`, `host1/web` or `outside`. */
  readonly name: string;
  readonly kind: "host" | "container" | "outside";
  /** The host that it is, or is in; empty outside. */
  readonly host: string;
  /** Absent outside. */
  readonly netns?: string;
  readonly addresses: readonly string[];
}

/** What came back of what one has sent to another. */
export interface Pinged {
  readonly from: string;
  readonly to: string;
  readonly family: Family;
  readonly address: string;
  readonly sent: number;
  readonly received: number;
  /** The shortest way there and back, in milliseconds; absent if nothing came back. */
  readonly ms?: number;
  /** Why nothing could be sent: the name of the error. */
  readonly error?: string;
}

export interface PingOptions {
  /** Requests to each; who has not answered any gets a further one now and then. */
  readonly count: number;
  /** How long after the last of these anybody is waited for. */
  readonly timeoutMs: number;
}

/** Between two requests to the same one. */
const INTERVAL_MS = 20;
/** Neighbours that were silent are given up by the kernel with what was to be sent to them: that is no failure yet. */
const AGAIN_MS = 500;

/** Everyone who takes part: hosts, each with its containers behind it, and what is beyond the router. */
export function partiesOf(lab: SeenLab): readonly Party[] {
  const paths = labPaths(lab.spec.name);
  const inside = lab.hosts.flatMap(({ name: host, uplink, containers }): readonly Party[] => [
    { name: host, kind: "host", host, netns: paths.host(host).net, addresses: uplink.addresses },
    ...containers.map((c) => ({
      name: `${host}/${c.name}`,
      kind: "container" as const,
      host,
      netns: `${paths.host(host).netns}/${c.name}`,
      addresses: c.addresses,
    })),
  ]);
  return [...inside, { name: "outside", kind: "outside", host: "", addresses: lab.outside }];
}

/** Whether these two are to reach each other; without a provider nothing leads from a container to another host. */
export const isExpected = (from: Party, to: Party, joinsHosts: boolean): boolean =>
  joinsHosts ||
  to.kind === "outside" ||
  from.host === to.host ||
  (from.kind === "host" && to.kind === "host");

interface Course {
  readonly from: Party;
  readonly to: Party;
  readonly ip: Ip;
  readonly socket: RawSocket | undefined;
  readonly sentAt: number[];
  readonly times: (number | undefined)[];
  error?: string;
}

/** Pings every pair that is wanted, in one family. */
export function pingAll(
  parties: readonly Party[],
  family: Family,
  wanted: (from: Party, to: Party) => boolean,
  options: PingOptions,
): readonly Pinged[] {
  using stack = new DisposableStack();
  const courses: Course[] = [];
  const bySocket = new Map<number, Sender>();
  for (const from of parties) {
    if (from.netns === undefined) continue;
    using netns = tryOpenNetns(from.netns);
    const socket = netns && stack.use(inNetns(netns, () => openIcmpSocket(family)));
    const own: Course[] = [];
    for (const to of parties) {
      const address = addressIn(to.addresses, family);
      const ip = address === undefined ? undefined : parseIp(address);
      if (to === from || ip?.ok !== true || addressIn(from.addresses, family) === undefined) continue;
      if (wanted(from, to)) own.push({ from, to, ip: ip.value, socket, sentAt: [], times: [] });
    }
    courses.push(...own);
    if (socket !== undefined) bySocket.set(socket.fd, { socket, own });
  }
  run(bySocket, family, options);
  return courses.map((course) => outcomeOf(course, family));
}

interface Sender {
  readonly socket: RawSocket;
  readonly own: readonly Course[];
}
/** By descriptor. */
type Senders = ReadonlyMap<number, Sender>;

function run(senders: Senders, family: Family, { count, timeoutMs }: PingOptions): void {
  const id = process.pid & 0xffff;
  /** What a course may send at most; the numbers of requests of one socket go on from course to course. */
  const most = count + Math.ceil(timeoutMs / AGAIN_MS);
  const send = (wanted: (course: Course) => boolean): void => {
    for (const { socket, own } of senders.values()) {
      own.forEach((course, i) => {
        const nth = course.sentAt.length;
        if (nth >= most || !wanted(course)) return;
        course.sentAt.push(performance.now());
        const error = socket.send(encodeEcho(family, { id, sequence: i * most + nth }), course.ip);
        if (error === undefined) delete course.error;
        else course.error = error;
        // At once, so that a quick answer does not wait for the other requests.
        take({ socket, own }, family, id, most);
      });
    }
  };
  const wait = (untilMs: number, done: () => boolean): void => {
    for (let left = 1; left > 0 && !done();) {
      left = untilMs - performance.now();
      if (left > 0) receive(senders, family, id, most, left);
    }
  };
  const all = [...senders.values()].flatMap(({ own }) => own);
  const cameOf = ({ times }: Course): number => times.filter((t) => t !== undefined).length;
  for (let round = 0; round < count; round++) {
    send(() => true);
    wait(performance.now() + INTERVAL_MS, () => false);
  }
  const end = performance.now() + timeoutMs;
  const isDone = (): boolean => all.every((course) => cameOf(course) >= count);
  while (!isDone() && performance.now() < end) {
    wait(Math.min(end, performance.now() + AGAIN_MS), isDone);
    // Who answered some and not all has lost some.
    if (performance.now() < end) send((course) => cameOf(course) === 0);
  }
}

function receive(senders: Senders, family: Family, id: number, most: number, waitMs: number): void {
  for (const fd of waitAnyReadable([...senders.keys()], waitMs)) {
    const sender = senders.get(fd);
    if (sender !== undefined) take(sender, family, id, most);
  }
}

/** Everything that waits on one socket. */
function take({ socket, own }: Sender, family: Family, id: number, most: number): void {
  for (let packet = socket.receive(); packet !== undefined; packet = socket.receive()) {
    const reply = decodeReply(family, packet);
    if (reply?.id !== id) continue;
    const course = own[Math.floor(reply.sequence / most)];
    const nth = reply.sequence % most;
    const sentAt = course?.sentAt[nth];
    if (course !== undefined && sentAt !== undefined) course.times[nth] ??= performance.now() - sentAt;
  }
}

function outcomeOf({ from, to, ip, socket, sentAt, times, error }: Course, family: Family): Pinged {
  const came = times.filter((t) => t !== undefined);
  const why = socket === undefined ? "ENODEV" : error;
  return {
    from: from.name,
    to: to.name,
    family,
    address: ip.text,
    sent: sentAt.length,
    received: came.length,
    ...(came.length > 0 ? { ms: Math.min(...came) } : {}),
    ...(came.length === 0 && why !== undefined ? { error: why } : {}),
  };
}
