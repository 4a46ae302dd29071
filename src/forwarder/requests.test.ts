import { describe, expect, test } from "bun:test";
import { NetError } from "../errors.ts";
import { tempDir } from "../testing/temp-dir.ts";
import { openPeerBook } from "./peer-book.ts";
import { parseRequest, peerJson } from "./requests.ts";

const peer = { id: "a", subnets: ["10.1.2.3/24", "fd00:1::/64"], address: "192.0.2.1" };
const line = (request: unknown): string => JSON.stringify(request);

describe("a request", () => {
  test("names a peer, whose port is flanneld's and who is plain unless told", () => {
    const request = parseRequest(line({ command: "set-peer", peer }), 4);
    expect(request.command === "set-peer" && peerJson(request.peer)).toEqual({
      ...peer,
      subnets: ["10.1.2.0/24", "fd00:1::/64"],
      port: 8285,
      heddle: false,
    });
  });

  test.each([
    ["not JSON", "{", "not JSON"],
    ["not an object", "[]", "must be an object"],
    ["no command", "{}", "no command"],
    ["an unknown command", line({ command: "dance" }), "no command"],
    ["a peer without an id", line({ command: "set-peer", peer: { ...peer, id: "" } }), "peer.id"],
    [
      "a subnet that is none",
      line({ command: "set-peer", peer: { ...peer, subnets: ["x"] } }),
      "peer.subnets[0]",
    ],
    [
      "subnets that are no list",
      line({ command: "set-peer", peer: { ...peer, subnets: {} } }),
      "peer.subnets",
    ],
    [
      "an address of nobody",
      line({ command: "set-peer", peer: { ...peer, address: "0.0.0.0" } }),
      "peer.address",
    ],
    ["a port of zero", line({ command: "set-peer", peer: { ...peer, port: 0 } }), "peer.port"],
    ["heddle as a text", line({ command: "set-peer", peer: { ...peer, heddle: "yes" } }), "peer.heddle"],
    [
      "IPv6 for an IPv4 socket",
      line({ command: "set-peer", peer: { ...peer, address: "2001:db8::1" } }),
      "--listen ::",
    ],
    ["two of one id", line({ command: "replace-all", peers: [peer, peer] }), "two peers"],
    ["peers that are no list", line({ command: "replace-all", peers: "all" }), "peers must be a list"],
    ["a wrong one of many", line({ command: "replace-all", peers: [peer, 7] }), "peers[1]"],
  ])("with %s is refused, and what is wrong is named", (_, given, named) => {
    expect(() => parseRequest(given, 4)).toThrow(NetError);
    expect(() => parseRequest(given, 4)).toThrow(named);
  });

  test("takes IPv6 for a socket of both families", () => {
    const request = parseRequest(line({ command: "set-peer", peer: { ...peer, address: "2001:db8::1" } }), 6);
    expect(request.command).toBe("set-peer");
  });
});

describe("the book of peers", () => {
  const parsed = (id: string) => {
    const request = parseRequest(line({ command: "set-peer", peer: { ...peer, id } }), 4);
    if (request.command !== "set-peer") throw new TypeError(request.command);
    return request.peer;
  };
  const names = (path: string, told: string[] = []): readonly string[] =>
    openPeerBook(path, 4, (text) => told.push(text)).peers.map(({ id }) => id);

  test("is the same when it is opened again", () => {
    using dir = tempDir();
    const path = `${dir.path}/deep/peers.json`;
    const book = openPeerBook(path, 4, () => {});
    book.set(parsed("a"));
    book.set(parsed("b"));
    book.set(parsed("a"));
    expect([book.remove("b"), book.remove("b")]).toEqual([true, false]);
    expect(names(path)).toEqual(["a"]);
    book.replaceAll([parsed("x"), parsed("y")]);
    expect(names(path)).toEqual(["x", "y"]);
  });

  test("begins anew, and says so, when its file is damaged", async () => {
    using dir = tempDir();
    for (const text of ["", "{", '{"version":2,"peers":[]}', '{"version":1,"peers":[{}]}']) {
      await Bun.write(`${dir.path}/peers.json`, text);
      const told: string[] = [];
      expect(names(`${dir.path}/peers.json`, told)).toEqual([]);
      expect(told[0]).toContain("begins with none");
    }
  });
});
