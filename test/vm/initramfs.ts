/**
 * The guest's first root file system: busybox, the modules that reach the host's files, and a short script that puts the
 * host's root under a layer of memory and goes there. What the guest writes stays in that layer.
 */
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { cpio, type Entry } from "./cpio.ts";
import { GUEST_DIR, type Job } from "./job.ts";
import { type Emulator, type Kernel, modulesInOrder } from "./parts.ts";

/** For what must work before the first request for a module, or is never requested by the kernel itself. */
const MODULES = ["virtio_pci", "virtiofs", "overlay", "virtio_console", "virtio_net", "br_netfilter"];

/** Process 1 after the change of roots is busybox's init: it collects orphans, and ends the machine after the job. */
const INITTAB = `::wait:${GUEST_DIR}/bun ${GUEST_DIR}/guest.ts
::wait:${GUEST_DIR}/busybox poweroff -f
`;

const init = (modules: string): string => `#!/busybox sh
export PATH=/bin
/busybox mkdir -p /bin /proc /sys /dev /host /layer /merged
/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do insmod "/modules/$module"; done </modules/order
mount -t virtiofs -o ro host /host
mount -t tmpfs -o size=75% layer /layer
mkdir /layer/work
cp -a /upper /layer/upper
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /merged
for dir in proc sys dev; do mount --move "/$dir" "/merged/$dir"; done
mkdir -p /merged/dev/pts /merged/dev/shm /merged/dev/net /merged/lib/modules
mknod -m 666 /merged/dev/net/tun c 10 200
mount -t devpts devpts /merged/dev/pts
mount -t tmpfs tmpfs /merged/dev/shm
mount -t tmpfs tmpfs /merged/run
mount -t cgroup2 -o nsdelegate cgroup2 /merged/sys/fs/cgroup
for controller in cpu cpuset io memory pids; do echo "+$controller" >/merged/sys/fs/cgroup/cgroup.subtree_control; done
mount -t bpf bpf /merged/sys/fs/bpf
mount --bind "/merged${modules}" /merged/lib/modules
echo ${GUEST_DIR}/modprobe >/merged/proc/sys/kernel/modprobe
exec switch_root /merged ${GUEST_DIR}/busybox init
`;

/** The archive for this kernel. `job` is what guest.ts shall do. */
export function initramfs(kernel: Kernel, emulator: Emulator, job: Job): Uint8Array {
  const order = modulesInOrder(kernel.modules, MODULES);
  const text = (value: string): Uint8Array => new TextEncoder().encode(value);
  const dir = (path: string): Entry => ({ kind: "directory", path });
  const link = (path: string, target: string): Entry => ({ kind: "link", path, target });
  const own = `upper${GUEST_DIR}`;
  return cpio([
    { kind: "file", path: "busybox", bytes: readFileSync(emulator.busybox), executable: true },
    {
      kind: "file",
      path: "init",
      bytes: text(init(join(kernel.modules, ".."))),
      executable: true,
    },
    dir("modules"),
    ...order.map((path): Entry => {
      const bytes = readFileSync(join(kernel.modules, path));
      return { kind: "file", path: `modules/${basename(path)}`, bytes };
    }),
    {
      kind: "file",
      path: "modules/order",
      bytes: text(order.map((path) => `${basename(path)}\n`).join("")),
    },
    ...[dir("upper"), dir("upper/etc"), dir(own)],
    { kind: "file", path: "upper/etc/inittab", bytes: text(INITTAB) },
    { kind: "file", path: `${own}/job.json`, bytes: text(JSON.stringify(job)) },
    link(`${own}/bun`, process.execPath),
    link(`${own}/guest.ts`, join(import.meta.dir, "guest.ts")),
    link(`${own}/busybox`, emulator.busybox),
    link(`${own}/modprobe`, emulator.busybox),
  ]);
}
