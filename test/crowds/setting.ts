/** What the tests of many plugins and many containers have in common: their needs, and the seed of their choices. */
import { testWith } from "../../src/testing/needs.ts";

export const kernel = testWith({ root: true, programs: ["ip", "tc", "nft", "nsenter", "unshare"] });

const asked = Number(process.env["HEDDLE_SEED"]);
/** `HEDDLE_SEED` repeats a choice. */
export const seed = Number.isInteger(asked) && asked > 0 ? asked : Math.ceil(Math.random() * 2 ** 31);
