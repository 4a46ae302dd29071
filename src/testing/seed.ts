/** The number that decides which part of a large product is tried. */
const asked = Number(process.env["HEDDLE_SEED"]);

/** `HEDDLE_SEED`, or chosen anew. `npm test` sets it to the seed that it prints, here and in the virtual machine. */
export const seed = Number.isInteger(asked) && asked > 0 ? asked : Math.ceil(Math.random() * 2 ** 31);
