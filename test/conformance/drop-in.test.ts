/**
 * A sample of changing over, by the seed that is printed: of what most machines' kernels can do, and one of what mostly
 * needs the virtual machine. `drop-in.long.test.ts` does every network.
 */
import { heddleOfFile } from "../../src/testing/executable.ts";
import { dropIns, dropInTests } from "./drop-in.ts";
import { sample } from "../../src/testing/faults.ts";
import { seed } from "../../src/testing/seed.ts";
import { byFeature, isRare } from "./setting.ts";

const CASES = 12;
const RARE = 1;

const heddle = heddleOfFile();
console.log(`sample of changing over: HEDDLE_SEED=${seed}`);

const usual = dropIns.filter((d) => !isRare(d));
const chosen = [...sample(usual, CASES, seed), ...sample(dropIns.filter(isRare), RARE, seed)];
byFeature(chosen, (group) => dropInTests(group, () => heddle));
