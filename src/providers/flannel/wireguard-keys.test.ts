import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { NetError } from "../../errors.ts";
import { wireguardKeyBytes } from "../../net/wireguard-key.ts";
import { tempDir } from "../../testing/temp-dir.ts";
import { keyPair } from "../../testing/wireguard.ts";
import { keepKeys } from "./wireguard-keys.ts";

const text = keyPair(1).privateKey.reveal().toBase64();

function write(path: string, content: string, mode = 0o400): string {
  writeFileSync(path, content);
  chmodSync(path, mode);
  return path;
}

function refusal(path: string): string {
  try {
    keepKeys(path)();
  } catch (e) {
    if (e instanceof NetError) return `${e.code}: ${e.message}`;
    throw e;
  }
  return "taken";
}

describe("the keys of a host", () => {
  test("are made once, with nobody else allowed to read them", () => {
    using dir = tempDir("wgkey");
    const path = dir.in("run/flannel/wgkey");
    const keys = keepKeys(path)();
    expect(readFileSync(path, "utf8")).toBe(`${keys.privateKey.reveal().toBase64()}\n`);
    expect(statSync(path).mode & 0o7777).toBe(0o400);
    expect(readdirSync(dir.in("run/flannel"))).toEqual(["wgkey"]);
    expect(keepKeys(path)()).toEqual(keys);
    const [low = 0, high = 0] = [keys.privateKey.reveal()[0], keys.privateKey.reveal()[31]];
    expect([low & 7, high >> 6]).toEqual([0, 1]);
  });

  test("are those of the file, as flanneld or wg writes it", () => {
    using dir = tempDir("wgkey");
    for (const [name, content] of [
      ["flanneld", text],
      ["wg", `${text}\n`],
    ] as const)
      expect(keepKeys(write(dir.in(name), content))()).toEqual(keyPair(1));
  });

  test("belong together as RFC 7748 has it", () => {
    using dir = tempDir("wgkey");
    const secret = Uint8Array.fromHex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    const { publicKey, privateKey } = keepKeys(write(dir.in("k"), secret.toBase64()))();
    expect(privateKey.reveal()).toEqual(secret);
    expect(wireguardKeyBytes(publicKey).toHex()).toBe(
      "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
    );
  });

  test("are new when there is another file, and the same when there is none", () => {
    using dir = tempDir("wgkey");
    const path = dir.in("wgkey");
    const keys = keepKeys(path);
    const first = keys();
    rmSync(path);
    expect(keys()).toEqual(first);
    expect(statSync(path).mode & 0o777).toBe(0o400);
    rmSync(path);
    write(path, text);
    expect(keys()).toEqual(keyPair(1));
  });

  test("come from where a link leads", () => {
    using dir = tempDir("wgkey");
    write(dir.in("secret"), text);
    symlinkSync("secret", dir.in("wgkey"));
    expect(keepKeys(dir.in("wgkey"))()).toEqual(keyPair(1));
  });

  test("are made though an earlier process was killed while it made them", () => {
    using dir = tempDir("wgkey");
    write(dir.in(".wgkey.new"), "half");
    expect(refusal(dir.in("wgkey"))).toBe("taken");
    expect(readdirSync(dir.path)).toEqual(["wgkey"]);
  });
});

describe("a file that is no key", () => {
  const invalid = "is not a key: 32 bytes in base64; it is left as it is";
  test.each([
    ["empty", "", invalid],
    ["half a key", text.slice(0, 20), invalid],
    ["two keys", `${text}\n${text}\n`, invalid],
    ["zeros", `${"A".repeat(43)}=`, invalid],
    ["much too long", `${text}\n`.repeat(1_000), invalid],
  ])("is refused and left alone: %s", (_, content, why) => {
    using dir = tempDir("wgkey");
    const path = write(dir.in("wgkey"), content);
    expect(refusal(path)).toStartWith(`config/invalid: ${path}: ${why}`);
    expect(readFileSync(path, "utf8")).toBe(content);
    expect(readdirSync(dir.path)).toEqual(["wgkey"]);
  });

  test("is refused if others may read it, and its content is not told", () => {
    using dir = tempDir("wgkey");
    for (const mode of [0o644, 0o440, 0o402, 0o610]) {
      const path = write(dir.in(`k${mode}`), text, mode);
      const why = refusal(path);
      expect(why).toStartWith(
        `config/invalid: ${path}: others than its owner may use it (mode 0${mode.toString(8)})`,
      );
      expect(why).not.toContain(text.slice(0, 8));
    }
    expect(refusal(write(dir.in("own"), text, 0o600))).toBe("taken");
  });

  test("is refused if it is something else", () => {
    using dir = tempDir("wgkey");
    mkdirSync(dir.in("wgkey"));
    expect(refusal(dir.in("wgkey"))).toContain("is not a file");
    symlinkSync("nowhere", dir.in("lost"));
    expect(refusal(dir.in("lost"))).toContain("EEXIST");
  });
});
