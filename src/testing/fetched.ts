/** Programs of Debian that tests fetch into the cache, and what becomes of the tests where they cannot be had. */
import { errorText } from "../cni/errors.ts";
import { isAll } from "./seed.ts";

/**
 * What was fetched; undefined after printing why it cannot be had, so that the tests are skipped. Under `npm run test:all` that
 * fails wherever apt is: who asks for all is not to be told that all has passed.
 */
export async function fetchedOr<T>(what: string, fetch: () => Promise<T>): Promise<T | undefined> {
  try {
    return await fetch();
  } catch (e) {
    if (isAll && Bun.which("apt-get") !== null)
      throw new Error(`${what} is not here, and npm run test:all needs it: ${errorText(e)}`, { cause: e });
    console.warn(`skipped: ${what} is not here: ${errorText(e)}`);
    return undefined;
  }
}
