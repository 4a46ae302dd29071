/**
 * What a person can do about an error, one line a code, and where the manual says more. Complete by type, so that a new
 * error code cannot appear without one. docs/errors.md says the same at length.
 */
import type { ErrorCode } from "../errors.ts";

/** What a call's errno says that its code alone does not. */
export const hintOfErrno: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program has this address and port: end it, or choose another port",
  EADDRNOTAVAIL: "this host does not have that address: choose one of its own",
  EROFS: "the file system can only be read there: name another place",
  ENOSPC: "there is no space left, or no memory that may be locked or watched: make room",
};

export const hint = {
  "sys/call": "the operating system refused; is this running as root, and is there space and permission?",
  "netlink/refused": "the kernel refused a network change; its own words are in brackets, if it gave any",
  "netlink/overrun": "the kernel had more events than were read; try again",
  "netlink/interrupted": "the network changed while it was being read; try again",
  "decode/malformed": "some input is not what its format says; check the file or variable that is named",
  "config/invalid":
    "correct this key of the network configuration; heddle cni validate FILE points at it, and at every other",
  "config/unsupported": "remove this key from the network configuration, or use a plugin that knows it",
  "config/not-found": "check NETCONFPATH and the network's name; files end in .conflist, .conf or .json",
  "version/incompatible": "set cniVersion to one of the supported versions",
  "version/conversion": "use a newer cniVersion, which can express this result",
  "env/invalid": "set or correct the variable that is named",
  "container/unknown": "pass the container's id",
  "netns/invalid":
    "pass, as root, the path of a network namespace, for example /run/netns/NAME (see: ip netns list)",
  "plugin/not-found": "set CNI_PATH to the directories of the plugins, or run: heddle install",
  "plugin/failed": "the plugin's own message says why",
  "prev-result/invalid": "detach the container and attach it again",
  "attachment/live":
    "detach it first, or give another interface name (-i); a list must not have a plugin twice",
  "resource/exists": "remove what is in the way, or choose another name",
  "check/differs":
    "something changed the network since ADD; heddle reload restores rules, attaching again everything",
  "ipam/exhausted": "widen the range, or run GC to free what dead containers hold",
  "ipam/taken": "ask for another address, or detach its owner",
  "port/taken": "choose another host port, or detach its owner",
  "program/failed": "install the program, or repair what it complains about",
  "feature/missing": "load the kernel module or use a newer kernel; docs/kernel.md lists what is needed",
  "status/unavailable": "the network cannot take containers now; repair what is named and ask again",
  "status/limited": "the network cannot take containers now, and those attached may be cut off",
  "store/unavailable":
    "check the endpoints, the network to them and their certificates; it is tried again by itself",
  "store/compacted": "nothing is lost: everything is listed again by itself",
  "store/denied": "check the user, the password or the certificate, and what they may read and write",
  "try-again": "try again in a moment",
  "usage/invalid": "see heddle --help",
} as const satisfies Record<ErrorCode, string>;

/** The place in the manual that explains a code: the anchor is the one that renderers make of its heading. */
export const manualOf = (code: ErrorCode): string => `docs/errors.md#${anchorOf(code)}`;

/** The anchor of a heading: lower case, spaces to hyphens, everything else but letters and digits dropped. */
export const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\- _]/gu, "")
    .replaceAll(" ", "-");
