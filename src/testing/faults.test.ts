import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { faultsIn } from "./faults.ts";
import { tempDir } from "./temp-dir.ts";

const BEGIN = 'read(0, "{}", 16384) = 2';
const SOCKET = "sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 36";

function faultsOf(...lines: readonly string[]): readonly string[] {
  using dir = tempDir("faults");
  writeFileSync(dir.in("recorded"), [...lines, ""].join("\n"));
  return faultsIn(dir.in("recorded")).map(({ mode, call, nth }) => `${mode} ${call} ${nth}`);
}

test("a call that changes something can fail, and is a place to be killed at", () => {
  expect(
    faultsOf(
      BEGIN,
      'mkdir("/run/heddle", 0700) = 0',
      'openat(AT_FDCWD, "/run/heddle/a.pending", O_RDWR|O_CREAT, 0600) = 7',
      'openat(AT_FDCWD, "/run/heddle/b", O_WRONLY|O_TRUNC) = 8',
      'write(7, "{}", 2) = 2',
      `sendto(5, [{nlmsg_len=36, nlmsg_type=RTM_NEWLINK, nlmsg_flags=NLM_F_REQUEST}, {${SOCKET}`,
      `sendto(5, [{nlmsg_len=36, nlmsg_type=0x14 /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST}, {${SOCKET}`,
      "sendmsg(9, {msg_iov=[{iov_base=[[{nlmsg_len=20, nlmsg_type=NFNL_MSG_BATCH_BEGIN}, {nlmsg_len=40, " +
        "nlmsg_type=NFNL_SUBSYS_NFTABLES<<8|NFT_MSG_NEWTABLE}]]}]}, 0) = 60",
      'rename("/run/heddle/a.pending", "/run/heddle/a") = 0',
      "vfork() = 12",
    ),
  ).toEqual(
    [
      "mkdir 1",
      "openat 1",
      "openat 2",
      "write 1",
      "sendto 1",
      "sendto 2",
      "sendmsg 1",
      "rename 1",
      "vfork 1",
    ].flatMap((call) => [`kill ${call}`, `fail ${call}`]),
  );
});

test("a call that asks can fail, and a kill at it is that at the next change", () => {
  expect(
    faultsOf(
      BEGIN,
      "socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE) = 5",
      'openat(AT_FDCWD, "/run/netns/one", O_RDONLY|O_CLOEXEC) = 6',
      "setns(6, CLONE_NEWNET) = 0",
      "flock(7, LOCK_EX) = 0",
      `sendto(5, [{nlmsg_len=36, nlmsg_type=RTM_GETLINK, nlmsg_flags=NLM_F_REQUEST}, {${SOCKET}`,
      `sendto(5, [{nlmsg_len=92, nlmsg_type=0x12 /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST}, {${SOCKET}`,
      `sendto(9, [{nlmsg_len=20, nlmsg_type=0xa10 /* NLMSG_??? */, nlmsg_flags=NLM_F_REQUEST}, {${SOCKET}`,
      `sendto(9, [{nlmsg_len=20, nlmsg_type=NFNL_SUBSYS_NFTABLES<<8|NFT_MSG_GETCHAIN}, {${SOCKET}`,
      "recvfrom(5, [{nlmsg_len=36, nlmsg_type=RTM_NEWLINK}], 16384, 0, NULL, NULL) = 36",
      'mkdir("/run/heddle", 0700) = -1 EEXIST (File exists)',
      "clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[3]}, 88) = 3",
    ).filter((fault) => fault.startsWith("kill")),
  ).toEqual([]);
});

test("what is read before the configuration, and files that are only read, are no places", () => {
  expect(
    faultsOf(
      'mkdir("/run/before", 0700) = 0',
      BEGIN,
      'openat(AT_FDCWD, "/proc/self/statm", O_RDONLY) = 5',
      "exit_group(0) = ?",
    ),
  ).toEqual(["kill exit_group 1"]);
});
