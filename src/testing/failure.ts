/** How work ends that may fail. */
import { NetError } from "../errors.ts";

/** The error; anything else is a mistake in the test. */
export async function failureOf(work: Promise<unknown>): Promise<NetError> {
  const e: unknown = await work.then(
    () => "nothing failed",
    (error: unknown) => error,
  );
  if (e instanceof NetError) return e;
  throw new Error(String(e), { cause: e });
}

/** The error's code, or `done`. */
export const codeOf = async (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => "done",
    (e: unknown) => (e instanceof NetError ? e.code : String(e)),
  );
