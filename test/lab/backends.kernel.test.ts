/** One backend of those that this kernel has, drawn by the seed, in what is over in a moment; all of it is in the long suite. */
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelHas } from "../../src/testing/features.ts";
import { whyNot } from "../../src/testing/needs.ts";
import { diceOf, seed } from "../../src/testing/seed.ts";
import { backends, underlaysOf } from "./backends.ts";
import { quick } from "./situations.ts";
import { describeLab } from "./suite.ts";

const heddle = heddleOfFile();
const isRoot = whyNot({ root: true, programs: ["ip"] }) === undefined;
const here = backends.filter(
  ({ joinsHosts, needs }) => joinsHosts && (!isRoot || needs.every((feature) => kernelHas(feature))),
);
const backend = here[diceOf(seed, "backend of a lab")(here.length)];
const ip = backend && underlaysOf(backend).at(-1);
if (backend !== undefined && ip !== undefined) describeLab({ heddle, backend, ip, situations: quick });
