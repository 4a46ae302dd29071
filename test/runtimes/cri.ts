/**
 * The kubelet's side of the Container Runtime Interface: the calls about pod sandboxes, over the runtime's socket. Numbers
 * of fields are those of `runtime.v1` (k8s.io/cri-api).
 */
import { connect as connectHttp2, constants } from "node:http2";
import { connect as connectSocket } from "node:net";
import { patience } from "../../src/testing/slowdown.ts";
import { bool, int, type Kind, map, many, type Message, message, one, text } from "./protobuf.ts";

const metadata = message({
  name: one(1, text),
  uid: one(2, text),
  namespace: one(3, text),
  attempt: one(4, int),
});
/** The protocol is 0 for TCP, 1 for UDP, 2 for SCTP. */
const portMapping = message({
  protocol: one(1, int),
  containerPort: one(2, int),
  hostPort: one(3, int),
  hostIp: one(4, text),
});
const sandboxConfig = message({
  metadata: one(1, metadata),
  hostname: one(2, text),
  logDirectory: one(3, text),
  portMappings: many(5, portMapping),
  labels: map(6),
  annotations: map(7),
  linux: one(8, message({ cgroupParent: one(1, text) })),
});
const sandboxStatus = message({
  id: one(1, text),
  metadata: one(2, metadata),
  /** 0 is ready, 1 is not. */
  state: one(3, int),
  network: one(5, message({ ip: one(1, text), additionalIps: many(2, message({ ip: one(1, text) })) })),
});
const condition = message({
  type: one(1, text),
  status: one(2, bool),
  reason: one(3, text),
  message: one(4, text),
});
const sandboxId = message({ podSandboxId: one(1, text) });
const nothing = message({});

const calls = {
  Status: [
    message({ verbose: one(1, bool) }),
    message({ status: one(1, message({ conditions: many(1, condition) })) }),
  ],
  RunPodSandbox: [message({ config: one(1, sandboxConfig) }), sandboxId],
  StopPodSandbox: [sandboxId, nothing],
  RemovePodSandbox: [sandboxId, nothing],
  PodSandboxStatus: [sandboxId, message({ status: one(1, sandboxStatus), info: map(2) })],
  ListPodSandbox: [nothing, message({ items: many(1, sandboxStatus) })],
} as const satisfies Readonly<Record<string, readonly [Kind<unknown>, Kind<unknown>]>>;
type Calls = typeof calls;

export interface Cri extends Disposable {
  /** @throws with the runtime's words, and the gRPC code before them, if it refuses */
  call<M extends keyof Calls>(method: M, request: Message<Calls[M][0]>): Promise<Message<Calls[M][1]>>;
}

/** A connection to the runtime that listens on this socket. */
export function criAt(socket: string): Cri {
  const session = connectHttp2("http://localhost", { createConnection: () => connectSocket(socket) });
  session.on("error", () => undefined); // The calls that are under way say so themselves.
  return {
    call: async (method, request) => {
      const [out, back]: readonly [Kind<unknown>, Kind<unknown>] = calls[method];
      const stream = session.request({
        [constants.HTTP2_HEADER_METHOD]: "POST",
        [constants.HTTP2_HEADER_PATH]: `/runtime.v1.RuntimeService/${method}`,
        [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc",
        [constants.HTTP2_HEADER_TE]: "trailers",
      });
      stream.end(framed(out.pack(request) as Uint8Array));
      return back.unpack(await answerOf(stream, method)) as Message<Calls[typeof method][1]>;
    },
    [Symbol.dispose]: () => session.destroy(),
  };
}

/** A message of gRPC: not compressed, and how long it is. */
function framed(bytes: Uint8Array): Uint8Array {
  const frame = Buffer.alloc(5 + bytes.length);
  frame.writeUInt32BE(bytes.length, 1);
  frame.set(bytes, 5);
  return frame;
}

type Stream = ReturnType<ReturnType<typeof connectHttp2>["request"]>;

async function answerOf(stream: Stream, method: string): Promise<Uint8Array> {
  const limit = setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), patience(60_000));
  // The code comes behind the answer, or before it if there is none.
  const status = new Map<string, string>();
  const keep = (headers: Readonly<Record<string, unknown>>): void => {
    for (const name of ["grpc-status", "grpc-message"])
      if (typeof headers[name] === "string") status.set(name, headers[name]);
  };
  stream.on("response", keep);
  stream.on("trailers", keep);
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of stream) chunks.push(chunk as Buffer);
  } finally {
    clearTimeout(limit);
  }
  const code = status.get("grpc-status");
  if (code !== "0")
    throw new Error(
      `${method}: gRPC ${code}: ${decodeURIComponent(status.get("grpc-message") ?? "no answer")}`,
    );
  return Buffer.concat(chunks).subarray(5);
}
