import { expect, test } from "bun:test";
import { member, nodeOf } from "../testing/agent-core.ts";
import { ip } from "../testing/address.ts";
import type { CarrierWish } from "./model.ts";
import { statusOf } from "./status.ts";

const about = { node: "host1", provider: "flannel", version: "1", pid: 7, startedAt: 0 };
const peer = nodeOf("10.0.2.0/24", "192.0.2.2");

test("a peer counts when the process that carries packets has been told of it", () => {
  const carried = { id: "a", subnets: ["10.0.2.0/24"], address: "192.0.2.2", port: 8285, heddle: true };
  const own = { device: "flannel0", mtuBytes: 1472, listen: ip("0.0.0.0"), port: 8285, own: [] };
  const a = member("10.0.1.0/24");
  const peersNow = (): number => statusOf(a.state, about).nodes.peers;
  a.change((state) => {
    if (state.joined === undefined) throw new Error("not joined");
    const carriage = ({ peers }: { readonly peers: readonly unknown[] }): CarrierWish => ({
      ...own,
      peers: peers.map(() => carried),
    });
    return { ...state, joined: { ...state.joined, network: { ...state.joined.network, carriage } } };
  });
  a.tell({ kind: "nodes", news: { kind: "put", node: peer } });
  a.pass(1_000);
  expect(a.find("carry")?.wish?.peers).toHaveLength(1);
  expect(peersNow()).toBe(0);
  a.tell({ kind: "done", job: "carrier" });
  expect(peersNow()).toBe(1);
});
