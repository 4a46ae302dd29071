/** Changing over with every network that mostly needs the virtual machine. */
import { heddleOfFile } from "../../src/testing/executable.ts";
import { dropIns, dropInTests } from "./drop-in.ts";
import { byFeature, isRare } from "./setting.ts";

const heddle = heddleOfFile();

byFeature(dropIns.filter(isRare), (group) => dropInTests(group, () => heddle));
