/** The bytes that flanneld writes for each of its backends, as the manual shows them. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { leaseName, leaseValue, parseLeaseName, parseLeaseValue } from "./lease-codec.ts";
import { formatSubnetEnv } from "./subnet-env.ts";
import { cidr } from "../../testing/address.ts";

const page = readFileSync(join(import.meta.dir, "../../../docs/providers/flannel.md"), "utf8");
const leases = [...page.matchAll(/^(\d\S+) +(\{"PublicIP".*\})$/gm)].map(
  ([, name = "", value = ""]) => [name, value] as const,
);

describe("a lease of flanneld", () => {
  test.each(leases)("%s with %s is read, and written with the same bytes", (name, value) => {
    const [subnets, told] = [parseLeaseName(name), parseLeaseValue(value)];
    if (!subnets.ok || !told.ok) throw new Error("refused");
    expect([leaseName(subnets.value), leaseValue(told.value)]).toEqual([name, value]);
  });

  test("is shown for each of its backends", () => {
    const types = leases.map(
      ([, value]) => (JSON.parse(value) as { BackendType?: string }).BackendType ?? "",
    );
    expect(types).toEqual(["vxlan", "vxlan", "host-gw", "ipip", "wireguard", "extension", ""]);
  });
});

test("subnet.env is shown as it is written", () => {
  const text = formatSubnetEnv({
    v4: { network: cidr("10.244.0.0/16"), subnet: cidr("10.244.3.0/24") },
    v6: { network: cidr("2001:cafe:42::/56"), subnet: cidr("2001:cafe:42:3::/64") },
    mtuBytes: 1450,
    ipMasq: true,
  });
  expect(page).toContain(text);
});
