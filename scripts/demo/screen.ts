/**
 * What the demo shows: steps that appear as they begin and get their time when they end, what programs printed, and
 * findings. Colours only on a terminal, and not with NO_COLOR (https://no-color.org).
 */

const WIDTH = 76;

type Colour = "bold" | "dim" | "green" | "red" | "cyan";
const codes: Readonly<Record<Colour, number>> = { bold: 1, dim: 2, red: 31, green: 32, cyan: 36 };

export interface Screen {
  /** A heading over several steps. */
  part(title: string): void;
  /** Runs the work; its title is printed before, its time (ms) after. */
  step<T>(title: string, work: () => T | Promise<T>): Promise<T>;
  /** Text as it stands, set in. */
  show(text: string, colour?: Colour): void;
  /** Something that was found as it should be, or was not. */
  finding(ok: boolean, text: string): void;
}

/** Whether to colour: a terminal that was not asked to be plain. */
export const wantsColour = (
  isTerminal: boolean,
  env: Readonly<Record<string, string | undefined>>,
): boolean => isTerminal && (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb";

export function makeScreen(write: (text: string) => void, coloured: boolean): Screen {
  const paint = (text: string, colour: Colour): string =>
    coloured && text !== "" ? `\u001B[${codes[colour]}m${text}\u001B[0m` : text;
  return {
    part: (title) => write(`\n${paint(title, "bold")}\n`),
    async step(title, work) {
      write(`  ${title.padEnd(WIDTH - 14)}`);
      const started = performance.now();
      const time = (): string => `${(performance.now() - started).toFixed(1)} ms`.padStart(12);
      try {
        const value = await work();
        write(`${paint(time(), "cyan")}\n`);
        return value;
      } catch (e) {
        write(`${paint(time(), "red")}\n`);
        throw e;
      }
    },
    show(text, colour) {
      for (const line of text.trimEnd().split("\n"))
        write(`${`    ${colour === undefined ? line : paint(line, colour)}`.trimEnd()}\n`);
    },
    finding: (ok, text) => write(`  ${ok ? paint("ok", "green") : paint("NOT OK", "red")}  ${text}\n`),
  };
}
