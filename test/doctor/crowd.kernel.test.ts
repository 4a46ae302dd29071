/** The doctor while containers come and go: what is being made or taken apart is neither lost nor left. */
import { expect } from "bun:test";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { manyNetns } from "../../src/testing/netns.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { type DoctorHost, doctorHost, myList, NETWORK } from "./host.ts";

const heddle = heddleOfFile();
const hostTest = testWith({ root: true, programs: ["ip", "nft", "nsenter", "unshare"] });

const CONTAINERS = 4;
const LOOKS = 10;

/** Attaches, checks and detaches containers, each by itself and again and again, until `work` is done. */
async function amidCalls(on: DoctorHost, work: () => Promise<void>): Promise<void> {
  await using many = await manyNetns(CONTAINERS);
  let stop = false;
  const comesAndGoes = async (path: string): Promise<number> => {
    let rounds = 0;
    for (; !stop; rounds++)
      for (const verb of ["add", "check", "del"]) {
        const { code, stderr } = await on.heddle("cni", verb, NETWORK, path);
        expect([verb, code, stderr]).toEqual([verb, 0, ""]);
      }
    return rounds;
  };
  const crowd = Promise.all(many.all.map(({ path }) => comesAndGoes(path)));
  try {
    await Promise.race([work(), crowd]);
  } finally {
    stop = true;
  }
  for (const rounds of await crowd) expect(rounds).toBeGreaterThan(0);
}

hostTest(
  "heddle doctor finds nothing wrong while containers are attached and detached",
  async () => {
    await using on = await doctorHost(heddle, myList({}, [{ type: "firewall" }]));
    await amidCalls(on, async () => {
      for (let look = 0; look < LOOKS; look++) {
        const { findings } = await on.doctor();
        const found = findings
          .filter((f) => f.severity !== "ok")
          .map((f) => `${f.severity} ${f.id}: ${f.seen}`);
        expect(found).toEqual([]);
      }
    });
  },
  patience(60_000),
);
