/** What standard output is: a terminal with a width and perhaps colours, or a file that takes lines of any length. */
import { isatty } from "node:tty";
import { writeAll } from "../cni/executable.ts";

export interface Terminal {
  /** Characters in a line; undefined if standard output is no terminal. */
  readonly columns: number | undefined;
  readonly colours: boolean;
}

/** NO_COLOR: no-color.org; any value that is not empty. */
export function terminal(env: Readonly<Record<string, string | undefined>> = process.env): Terminal {
  if (!isatty(1)) return { columns: undefined, colours: false };
  const plain = (env["NO_COLOR"] ?? "") !== "" || env["TERM"] === "dumb";
  return { columns: process.stdout.columns > 0 ? process.stdout.columns : 80, colours: !plain };
}

/** Numbers of ECMA-48 (SGR). */
const numbers = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 } as const;
export type Colour = keyof typeof numbers;

/** The text in that colour, or as it is on a terminal without colours. */
export const coloured = ({ colours }: Pick<Terminal, "colours">, colour: Colour, text: string): string =>
  colours ? `\u001b[${numbers[colour]}m${text}\u001b[0m` : text;

/**
 * The text without control characters: names of the network's search domains, and comments of rules, come from others, and
 * a terminal obeys them.
 */
export const printable = (text: string): string => text.replaceAll(/\p{Cc}/gu, "?");

const REDRAW_MS = 100;
const PATIENCE_MS = 1_000;

/** Tells on a terminal, after a second, how far a long work is; `done` takes the line away. */
export interface Progress {
  at(done: number, of: number): void;
  /** What comes next, in words. */
  step(text: string): void;
  done(): void;
}

/** Where progress is told, and by which clock; of this process unless told. */
export interface ProgressOptions {
  readonly isTerminal: boolean;
  readonly now: () => number;
  readonly write: (text: string) => void;
}

const here = (): ProgressOptions => ({
  isTerminal: isatty(2),
  now: () => performance.now(),
  write: (text) => void writeAll(2, text),
});

export function progress(what: string, { isTerminal, now, write }: ProgressOptions = here()): Progress {
  let last = now() + PATIENCE_MS - REDRAW_MS;
  let shown = false;
  const show = (text: string): void => {
    if (!isTerminal || now() - last < REDRAW_MS) return;
    last = now();
    shown = true;
    write(`\r${what} ${text}\u001b[K`);
  };
  return {
    at: (done, of) => show(`${done} of ${of}`),
    step: show,
    done: () => {
      if (shown) write("\r\u001b[K");
    },
  };
}
