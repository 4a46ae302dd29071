/** The agent's socket as a service: one question a connection, and who may ask what. */
import { isOwner, converse, serveCallers, type Service, type Speaker } from "../sys/unix-service.ts";
import type { PeerCredentials, UnixListener } from "../sys/unix-listener.ts";
import { type Answer, decodeQuestion, encodeLine, QUESTION_BYTES, type Question } from "./api.ts";
import type { EventLog } from "./event-log.ts";

/** Connections at a time. */
export const CONNECTIONS = 64;
/** Who has not asked by then is cut off. */
const QUESTION_MS = 5_000;

export interface ApiSetup {
  /** The answer to a question that changes nothing, and has one. */
  readonly answer: (ask: "status" | "nodes" | "routes") => Answer;
  readonly events: EventLog;
  readonly drain: () => void;
  readonly log: (line: string) => void;
}

export const serveApi = (listener: UnixListener, setup: ApiSetup): Service =>
  serveCallers(listener, {
    most: CONNECTIONS,
    // Who may connect is said by the mode of the socket's file.
    admits: () => true,
    converse: (fd, over, caller) => talk(fd, setup, over, caller),
    log: setup.log,
  });

function talk(fd: number, setup: ApiSetup, over: () => void, caller: PeerCredentials): { close(): void } {
  let stopFollowing: (() => void) | undefined;
  return converse(fd, {
    withinMs: QUESTION_MS,
    most: QUESTION_BYTES + 1,
    hear: (heard, speaker) => {
      const end = heard.indexOf(0x0a);
      if (heard.length > QUESTION_BYTES) speaker.cutOff();
      else if (end < 0) return false;
      else
        stopFollowing = reply(Buffer.from(heard.subarray(0, end)).toString("utf8"), speaker, setup, caller);
      return true;
    },
    over: () => {
      stopFollowing?.();
      over();
    },
  });
}

/** Answers a question. Returns what ends an answer that goes on. */
function reply(
  line: string,
  speaker: Speaker,
  setup: ApiSetup,
  caller: PeerCredentials,
): (() => void) | undefined {
  const last = (answer: Answer): undefined => {
    speaker.end(encodeLine(answer));
  };
  let question: Question;
  try {
    question = decodeQuestion(line);
  } catch (e) {
    return last({ kind: "refused", why: e instanceof Error ? e.message : String(e) });
  }
  if (question.ask === "events") return tellEvents(question, speaker, setup);
  if (question.ask === "drain") {
    if (!isOwner(caller))
      return last({ kind: "refused", why: `user ${caller.uid} may look, and only root may drain` });
    setup.drain();
    return last(setup.answer("status"));
  }
  return last(setup.answer(question.ask));
}

function tellEvents(
  { after = 0, follow = false }: Question,
  speaker: Speaker,
  { events }: ApiSetup,
): (() => void) | undefined {
  const known = events.after(after);
  const text = known.map((event) => encodeLine({ kind: "event", event })).join("");
  if (!follow) {
    speaker.end(text + encodeLine({ kind: "end" }));
    return undefined;
  }
  speaker.say(text);
  return events.follow((event) => speaker.say(encodeLine({ kind: "event", event })));
}
