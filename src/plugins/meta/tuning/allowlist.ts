/**
 * What the administrator of the host lets networks tune: a file with one regular expression a line, of which one has to
 * match somewhere in the key as the configuration has it. Without the file everything below net is allowed.
 */
import { invalid } from "../../../cni/json.ts";
import { NetError } from "../../../errors.ts";
import { readText, unlessErrno } from "../../../sys/files.ts";

const ALLOWLIST = "/etc/cni/tuning/allowlist.conf";

/** Throws `decode/malformed` for a line that is no regular expression, `config/invalid` for a key that is not allowed. */
export function requireAllowed(keys: readonly string[]): void {
  if (keys.length === 0) return;
  const text = unlessErrno(["ENOENT", "ENOTDIR"], () => readText(ALLOWLIST));
  if (text !== undefined) checkKeys(keys, parseAllowlist(text));
}

/** The expressions of the file; empty lines say nothing. */
export function parseAllowlist(text: string): readonly RegExp[] {
  return text.split("\n").flatMap((raw, i) => {
    const line = raw.trim();
    if (line === "") return [];
    try {
      // Strict: what other engines understand in another way is refused and not taken literally.
      return [new RegExp(line, "u")];
    } catch (cause) {
      const what = `${ALLOWLIST}, line ${i + 1}`;
      throw new NetError(
        "decode/malformed",
        { what, why: `"${line}" is no regular expression: ${(cause as Error).message}` },
        { cause },
      );
    }
  });
}

export function checkKeys(keys: readonly string[], allowed: readonly RegExp[]): void {
  const refused = keys.find((key) => !allowed.some((expression) => expression.test(key)));
  if (refused !== undefined) invalid(`sysctl.${refused}`, `is not allowed by ${ALLOWLIST}`);
}
