/** What the build wrote into this executable: its version and the commit that it was made from. */

// Replaced by the compiler (`--define` in scripts/build.ts); a run from sources has neither.
declare const HEDDLE_VERSION: string | undefined;
declare const HEDDLE_COMMIT: string | undefined;

export const version: string = typeof HEDDLE_VERSION === "string" ? HEDDLE_VERSION : "0.0.0-source";
export const commit: string = typeof HEDDLE_COMMIT === "string" ? HEDDLE_COMMIT : "unknown";

/** False when the program runs from sources. */
export const isCompiled: boolean = typeof HEDDLE_VERSION === "string";

/** Stands in every executable of this project, of every version, and tells it from other files. */
export const executableMark = "heddle-executable-4f0b6c1e9d2a7358";
