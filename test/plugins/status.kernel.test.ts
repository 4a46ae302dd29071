/** STATUS of plugins whose links a kernel may lack: it says whether ADD has what it needs, and makes nothing. */
import { expect, test } from "bun:test";
import { cniHost } from "../../src/testing/cni-host.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { kernelHas } from "../../src/testing/features.ts";
import { kernelTest, onKernelWith } from "../../src/testing/needs.ts";

const heddle = heddleOfFile();
const kinds = ["dummy", "vrf"] as const;

async function statusOf(type: (typeof kinds)[number]) {
  await using host = await cniHost(heddle);
  const before = await host.snapshot();
  const own = {
    dummy: { ipam: { type: "static", addresses: [{ address: "10.95.0.7/24" }] } },
    vrf: { vrfname: "blue" },
  };
  const conf = { cniVersion: "1.1.0", name: "net", type, ...own[type] };
  const reply = await host.call(type, { command: "STATUS" }, conf);
  expect(await host.snapshot()).toEqual(before);
  return { error: reply.error, message: reply.message };
}

for (const kind of kinds)
  onKernelWith([kind], () =>
    test(`${kind} is ready on a kernel that has its links`, async () => {
      expect(await statusOf(kind)).toEqual({ error: undefined, message: "" });
    }),
  );

kernelTest.each(kinds.filter((kind) => !kernelHas(kind)))(
  "%s says what the kernel lacks, where it does",
  async (kind) => {
    expect(await statusOf(kind)).toEqual({
      error: 50,
      message: expect.stringContaining(`links of kind ${kind} (module ${kind})`) as string,
    });
  },
);
