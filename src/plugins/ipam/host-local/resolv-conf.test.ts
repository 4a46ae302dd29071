import { expect, test } from "bun:test";
import { parseResolvConf } from "./resolv-conf.ts";

test("every keyword is read, of the domains the last", () => {
  const text =
    "nameserver 192.0.2.0\nnameserver 192.0.2.1\ndomain old.test\n domain\texample.test \nsearch a.test b.test\nsearch c.test\noptions ndots:2 rotate\noptions timeout:1";
  expect(parseResolvConf(text)).toEqual({
    nameservers: ["192.0.2.0", "192.0.2.1"],
    domain: "example.test",
    search: ["a.test", "b.test", "c.test"],
    options: ["ndots:2", "rotate", "timeout:1"],
  });
});

test("comments, empty values, unknown words and line ends of other systems do no harm", () => {
  const text = "# nameserver 1.1.1.1\n; search x\n\nnameserver\nsortlist 10.0.0.0\nnameserver 192.0.2.9\r\n";
  expect(parseResolvConf(text)).toEqual({ nameservers: ["192.0.2.9"] });
});

test("an empty file says nothing", () => {
  expect(parseResolvConf("")).toEqual({});
});
