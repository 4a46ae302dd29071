/**
 * Changing over with every network that most machines' kernels can make, and with one, by the seed, of those that mostly
 * need the virtual machine; `drop-in.long.test.ts` has all of these.
 */
import { heddleOfFile } from "../../src/testing/executable.ts";
import { dropIns, dropInTests } from "./drop-in.ts";
import { sample } from "../../src/testing/faults.ts";
import { seed } from "../../src/testing/seed.ts";
import { byFeature, isRare } from "./setting.ts";

const heddle = heddleOfFile();

const chosen = [...dropIns.filter((d) => !isRare(d)), ...sample(dropIns.filter(isRare), 1, seed)];
byFeature(chosen, (group) => dropInTests(group, () => heddle));
