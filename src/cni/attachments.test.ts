import { describe, expect, test } from "bun:test";
import { attachmentKey, findAttachment } from "./attachments.ts";

const of = (network: string, containerId: string, ifname = "eth0") => {
  const key = { network, containerId, ifname };
  return { ...key, key: attachmentKey(key) };
};

describe("attachmentKey", () => {
  test("is the same on every host, and another for each of network, container and interface", () => {
    expect(attachmentKey({ network: "mynet", containerId: "web", ifname: "eth0" })).toBe(KEY);
    const keys = [of("mynet", "web"), of("other", "web"), of("mynet", "db"), of("mynet", "web", "eth1")];
    expect(new Set(keys.map((k) => k.key)).size).toBe(4);
    expect(of("a", "bc").key).not.toBe(of("ab", "c").key);
  });
});

const KEY = "8decc2075e27";

describe("findAttachment", () => {
  const web = of("mynet", "web");
  const list = [web, of("mynet", "db"), of("mynet", "web-2")];

  test("takes the beginning of a key in either case, and of a container's id", () => {
    expect(findAttachment(list, web.key)).toBe(web);
    expect(findAttachment(list, web.key.slice(0, 8).toUpperCase())).toBe(web);
    expect(findAttachment(list, "d").containerId).toBe("db");
  });

  test("refuses what means nothing, and an empty word", () => {
    for (const asked of ["nobody", ""])
      expect(() => findAttachment(list, asked)).toThrow(
        `begins with "${asked}"; heddle ps lists what there is`,
      );
  });

  test("says how a container of Docker is found where there is one", () => {
    const endpoint = { ...of("0f0f", "e1e2e3", "eth"), plugins: ["docker", "docker-ports"] };
    expect(findAttachment([...list, endpoint], "e1e")).toBe(endpoint);
    expect(() => findAttachment([...list, endpoint], "nobody")).toThrow(
      /ps lists what there is, and a container of Docker by its endpoint: docker inspect -f '.*EndpointID.*' CONTAINER tells it$/,
    );
    expect(() => findAttachment([web], "nobody")).toThrow(/lists what there is$/);
  });

  test("names what an ambiguous beginning could mean", () => {
    expect(() => findAttachment(list, "web")).toThrow(
      `"web" means 2 attachments: ${web.key} (eth0 of web on mynet), `,
    );
    const many = Array.from({ length: 8 }, (_, i) => of("mynet", `same-${i}`));
    expect(() => findAttachment(many, "same")).toThrow(/8 attachments: .* and 3 more$/);
  });
});
