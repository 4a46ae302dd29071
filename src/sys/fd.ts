import { tryCall } from "./libc.ts";

/**
 * Owns one file descriptor and closes it at the end of its block (`using`). Use after close throws; closing twice
 * does nothing; `release` gives the descriptor away.
 */
export class Fd implements Disposable {
  #raw: number | undefined;
  constructor(raw: number) {
    this.#raw = raw;
  }
  get raw(): number {
    if (this.#raw === undefined) throw new TypeError("descriptor used after close");
    return this.#raw;
  }
  get isOpen(): boolean {
    return this.#raw !== undefined;
  }
  release(): number {
    const raw = this.raw;
    this.#raw = undefined;
    return raw;
  }
  [Symbol.dispose](): void {
    const raw = this.#raw;
    this.#raw = undefined;
    // An error of close(2) leaves the descriptor closed all the same on Linux.
    if (raw !== undefined) tryCall((libc) => libc.close(raw));
  }
}
