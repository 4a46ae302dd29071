/** What a packet that is not what its format says is refused with: one kind of error, which names the place. */
import { NetError } from "../errors.ts";

/** @throws decode/malformed, always; its type lets it stand where a value is expected. */
export function malformed(what: string, why: string): never {
  throw new NetError("decode/malformed", { what, why });
}
