import { expect, test } from "bun:test";
import { inetParametersRequest } from "./link-inet.ts";

test("a parameter of IPv4 on a link is a number within the request about the link", () => {
  const { type, flags, body, what } = inetParametersRequest("tun0", { acceptLocal: true });
  expect([type, flags, what]).toEqual([16, 0, "RTM_NEWLINK tun0 (IPv4 parameters)"]);
  expect(body.toHex()).toBe(
    [
      "00000000000000000000000000000000", // ifinfomsg
      "0900030074756e3000000000", // IFLA_IFNAME
      "14001a80", // IFLA_AF_SPEC
      "10000280", // AF_INET
      "0c000180", // IFLA_INET_CONF
      "0800170001000000", // IPV4_DEVCONF_ACCEPT_LOCAL
    ].join(""),
  );
});
