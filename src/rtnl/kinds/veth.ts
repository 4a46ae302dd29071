import { type Attr, DecodeError } from "../../wire/attrs.ts";
import { attrs } from "../../wire/attrs.ts";
import { viewOf } from "../../wire/fixed.ts";
import { type IfInfo, ifinfomsg, linkAttrs } from "../link-attrs.ts";

/** The other end of a pair, as a whole link message of its own (`VETH_INFO_PEER`, linux/veth.h). */
export interface VethPeer {
  readonly info: IfInfo;
  readonly attrs: ReturnType<typeof linkAttrs.decode>;
}

const peer: Attr<VethPeer> = {
  flags: 0x8000,
  decode(b) {
    if (b.length < ifinfomsg.size) throw new DecodeError(`a peer of ${b.length} bytes`);
    return { info: ifinfomsg.get(viewOf(b), 0), attrs: linkAttrs.decode(b.subarray(ifinfomsg.size)) };
  },
  encode({ info, attrs: peerAttrs }) {
    const tail = linkAttrs.encode(peerAttrs);
    const out = new Uint8Array(ifinfomsg.size + tail.length);
    ifinfomsg.set(viewOf(out), 0, info);
    out.set(tail, ifinfomsg.size);
    return out;
  },
};

export const vethKind = { name: "veth", data: attrs("VETH_INFO", { peer: [1, peer] }) } as const;
