/** Every backend, on IPv4, IPv6 and both, in everything that a fabric has to stand. */
import { etcdTree } from "../../src/testing/etcd.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { backends, underlaysOf } from "./backends.ts";
import { situationsFor } from "./situations.ts";
import { describeLab } from "./suite.ts";

const heddle = heddleOfFile();
const etcd = await etcdTree();
const situations = situationsFor({ hasEtcd: etcd !== undefined });

for (const backend of backends) {
  const underlays = underlaysOf(backend);
  for (const ip of underlays)
    describeLab({
      heddle,
      backend,
      ip,
      etcd,
      situations: situations.filter(
        ({ joined, once }) =>
          (joined !== true || backend.joinsHosts) && (once !== true || ip === underlays.at(-1)),
      ),
    });
}
