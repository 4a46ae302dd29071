/**
 * `dhcp`: addresses from a DHCP server, by way of the daemon that keeps the leases alive. The plugin itself sends no
 * packet: it tells the daemon who wants a lease and where, and makes a result of what the server granted.
 */
import type { AttachmentKey, CheckCall, DelCall, Plugin } from "../../../cni/plugin.ts";
import { askDaemon, NotRunning } from "../../../dhcp/client.ts";
import type { LeaseKey } from "../../../dhcp/model.ts";
import type { LeaseView, Request } from "../../../dhcp/protocol.ts";
import { hasLease, stateDir } from "../../../dhcp/store.ts";
import { NetError } from "../../../errors.ts";
import { identifyNetns } from "../../../netstate/alive.ts";
import { checkOneEach, demand } from "../decode.ts";
import { clientOf, type DhcpConfig, options, parseConfig, parseForRemoval } from "./config.ts";
import { resultOf } from "./result.ts";

export const dhcp: Plugin<DhcpConfig> = {
  type: "dhcp",
  about: "IPAM: addresses from a DHCP server, kept by heddle dhcp-daemon",
  options: [options],
  parse: parseConfig,
  parseForRemoval,
  async add({ config, conf, containerId, ifname, netns, args }) {
    const wishes = demand(config.wishes);
    checkOneEach(conf.cniVersion, wishes.families, "ipam.families");
    const there = identifyNetns(netns);
    if (there === undefined)
      throw new NetError("netns/invalid", { path: netns, why: "there is no such network namespace" });
    const client = clientOf(wishes, conf.name, { containerId, ifname }, args);
    const key = keyOf(conf.name, { containerId, ifname });
    const leases = await ask(config, { op: "acquire", key, netns: there, client, families: wishes.families });
    return resultOf(
      leases.map((l) => l.terms),
      wishes.priority,
    );
  },
  del,
  check,
  async gc({ config, conf, valid }) {
    await ask(config, { op: "retain", network: conf.name, valid });
  },
  async status({ config }) {
    try {
      await askDaemon(config.socketPath, { op: "ping" });
    } catch (e) {
      if (e instanceof NotRunning) throw new NetError("status/unavailable", { why: e.message }, { cause: e });
      throw e;
    }
  },
};

const keyOf = (network: string, { containerId, ifname }: AttachmentKey): LeaseKey => ({
  network,
  containerId,
  ifname,
});

/** A daemon that is not there is what a retry can mend. */
async function ask(config: DhcpConfig, request: Request): Promise<readonly LeaseView[]> {
  try {
    return await askDaemon(config.socketPath, request);
  } catch (e) {
    if (e instanceof NotRunning) throw new NetError("try-again", { why: e.message }, { cause: e });
    throw e;
  }
}

/**
 * Without a daemon there is nothing to give back where no lease is on disk; where one is, the caller has to come again, or
 * the daemon would go on with it.
 */
async function del({ config, conf, containerId, ifname }: DelCall<DhcpConfig>): Promise<void> {
  const key = keyOf(conf.name, { containerId, ifname });
  try {
    await askDaemon(config.socketPath, { op: "release", key });
  } catch (e) {
    if (!(e instanceof NotRunning)) throw e;
    if (hasLease(stateDir(), key)) throw new NetError("try-again", { why: e.message }, { cause: e });
  }
}

/** What the daemon knows is compared with prevResult; nothing is sent to a server. */
async function check({
  config,
  conf,
  containerId,
  ifname,
  prevResult,
}: CheckCall<DhcpConfig>): Promise<void> {
  const wishes = demand(config.wishes);
  const leases = await ask(config, { op: "show", key: keyOf(conf.name, { containerId, ifname }) });
  const found = prevResult?.ips.map((i) => i.address.text) ?? [];
  for (const family of wishes.families) {
    const lease = leases.find((l) => l.terms.family === family);
    const what = `DHCP lease (IPv${family})`;
    if (lease === undefined) throw new NetError("check/differs", { what, wanted: "one", found: "none" });
    const { over, terms } = lease;
    if (over !== undefined)
      throw new NetError("check/differs", {
        what,
        wanted: terms.address,
        found: `a lease that is over: ${over}`,
      });
    if (!found.includes(terms.address))
      throw new NetError("check/differs", {
        what: "addresses of prevResult",
        wanted: terms.address,
        found: found.join(", ") || "none",
      });
  }
}
