/** The fault loops in full: every system call of every scenario fails, and the process is killed in every state. */
import { describe, expect } from "bun:test";
import { heddleOfFile } from "../src/testing/executable.ts";
import { testWith } from "../src/testing/needs.ts";
import { casesOf, runCases } from "./faults/loop.ts";
import { scenarios } from "./faults/scenarios.ts";

const PROGRAMS = ["ip", "nft", "iptables-restore", "strace", "nsenter", "unshare"];

const heddle = heddleOfFile();

describe("after every fault in a verb, DEL of the key, ADD of the key, or GC leaves nothing", () => {
  // Of those that need another kernel there is a sample: all of one would take a virtual machine hours.
  const everywhere = scenarios.filter((s) => s.features === undefined);
  testWith({ root: true, programs: PROGRAMS }).each(everywhere.map((s) => [s.name, s] as const))(
    "%s",
    async (_, scenario) => {
      const cases = await casesOf(heddle, scenario);
      // Otherwise the recording went wrong, and the loop would prove nothing.
      expect(cases.length).toBeGreaterThan(100);
      expect(await runCases(heddle, cases)).toEqual({ ran: cases.length, failures: [] });
    },
    20 * 60_000,
  );
});
