import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { isNetError } from "../../errors.ts";
import { cidr } from "../../testing/address.ts";
import { tempDir } from "../../testing/temp-dir.ts";
import { formatSubnetEnv, readPrevious, writeSubnetEnv } from "./subnet-env.ts";

const v4 = { network: cidr("10.244.0.0/16"), subnet: cidr("10.244.3.0/24") };
const v6 = { network: cidr("2001:cafe:42::/56"), subnet: cidr("2001:cafe:42::/64") };

describe("formatSubnetEnv", () => {
  test("writes what flanneld writes", () => {
    expect(formatSubnetEnv({ v4, mtuBytes: 1450, ipMasq: true })).toBe(
      "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
    );
    expect(formatSubnetEnv({ v4, v6, mtuBytes: 1500, ipMasq: false })).toBe(
      "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\n" +
        "FLANNEL_IPV6_NETWORK=2001:cafe:42::/56\nFLANNEL_IPV6_SUBNET=2001:cafe:42::1/64\n" +
        "FLANNEL_MTU=1500\nFLANNEL_IPMASQ=false\n",
    );
    expect(formatSubnetEnv({ v6, mtuBytes: 1420, ipMasq: true })).toBe(
      "FLANNEL_IPV6_NETWORK=2001:cafe:42::/56\nFLANNEL_IPV6_SUBNET=2001:cafe:42::1/64\nFLANNEL_MTU=1420\nFLANNEL_IPMASQ=true\n",
    );
  });
});

describe("writeSubnetEnv", () => {
  test("makes the file with its folders, for all to read, whatever the umask is", () => {
    using dir = tempDir("flannel");
    const path = dir.in("run", "flannel", "subnet.env");
    const before = process.umask(0o077);
    try {
      writeSubnetEnv(path, "A=1\n");
    } finally {
      process.umask(before);
    }
    expect(readFileSync(path, "utf8")).toBe("A=1\n");
    expect(statSync(path).mode & 0o777).toBe(0o644);
    expect(readdirSync(dir.in("run", "flannel"))).toEqual(["subnet.env"]);
  });

  test("replaces a file at once, so that a reader keeps what it has opened", () => {
    using dir = tempDir("flannel");
    const path = dir.in("subnet.env");
    writeSubnetEnv(path, "A=1\n");
    const { ino } = statSync(path);
    writeSubnetEnv(path, "A=2\n");
    expect(readFileSync(path, "utf8")).toBe("A=2\n");
    expect(statSync(path).ino).not.toBe(ino);
  });

  test("goes on where a killed process stopped, and follows no link that stands in the way", () => {
    using dir = tempDir("flannel");
    writeFileSync(dir.in("victim"), "mine");
    symlinkSync(dir.in("victim"), dir.in(".subnet.env.new"));
    writeSubnetEnv(dir.in("subnet.env"), "A=1\n");
    expect(readFileSync(dir.in("victim"), "utf8")).toBe("mine");
    expect(readdirSync(dir.path).toSorted()).toEqual(["subnet.env", "victim"]);
  });

  test("leaves nothing when it fails, and names the call", () => {
    using dir = tempDir("flannel");
    writeFileSync(dir.in("file"), "");
    const write = (): void => writeSubnetEnv(dir.in("file", "subnet.env"), "A=1\n");
    expect(write).toThrow(expect.objectContaining({ code: "sys/call" }));
    expect(readdirSync(dir.path)).toEqual(["file"]);
  });
});

describe("readPrevious", () => {
  test("gives back what was written, without host bits", () => {
    using dir = tempDir("flannel");
    const path = dir.in("subnet.env");
    expect(readPrevious(path)).toBeUndefined();
    writeSubnetEnv(path, formatSubnetEnv({ v4, v6, mtuBytes: 1450, ipMasq: true }));
    const found = readPrevious(path);
    expect(found?.v4?.subnet.text).toBe("10.244.3.0/24");
    expect(found?.v4?.network.text).toBe("10.244.0.0/16");
    expect(found?.v6?.subnet.text).toBe("2001:cafe:42::/64");
    writeSubnetEnv(path, formatSubnetEnv({ v6, mtuBytes: 1450, ipMasq: true }));
    expect(readPrevious(path)?.v4).toBeUndefined();
  });

  test("knows nothing of a family with several networks", () => {
    using dir = tempDir("flannel");
    const text = formatSubnetEnv({ v4, mtuBytes: 1450, ipMasq: true }).replace("/16", "/16,10.8.0.0/16");
    writeSubnetEnv(dir.in("subnet.env"), text);
    expect(readPrevious(dir.in("subnet.env"))).toEqual({});
  });

  test("refuses what cannot be a daemon's", () => {
    using dir = tempDir("flannel");
    writeSubnetEnv(dir.in("subnet.env"), "FLANNEL_SUBNET=$(reboot)\n");
    try {
      readPrevious(dir.in("subnet.env"));
      throw new Error("accepted");
    } catch (e) {
      expect(isNetError(e, "decode/malformed")).toBe(true);
    }
  });
});
