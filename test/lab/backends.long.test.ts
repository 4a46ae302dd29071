/** Every backend, on IPv4, IPv6 and both, in everything that a fabric has to stand. */
import { etcdTree } from "../../src/testing/etcd.ts";
import { heddleOfFile } from "../../src/testing/executable.ts";
import { backends, underlaysOf } from "./backends.ts";
import { situationsFor } from "./situations.ts";
import { describeLab } from "./suite.ts";

const heddle = heddleOfFile();
const etcd = await etcdTree();

for (const backend of backends)
  for (const ip of underlaysOf(backend))
    describeLab({
      heddle,
      backend,
      ip,
      etcd,
      situations: situationsFor(backend, ip),
    });
