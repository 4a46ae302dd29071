/** Changing over with every network. */
import { heddleOfFile } from "../../src/testing/executable.ts";
import { dropIns, dropInTests } from "./drop-in.ts";
import { byFeature } from "./setting.ts";

const heddle = heddleOfFile();

byFeature(dropIns, (group) => dropInTests(group, () => heddle));
