/**
 * A process with a cluster in it, for a namespace of a test. In a directory it leaves two kubeconfigs: `admin.conf`, who may do
 * everything, and `agent.conf`, the service account of Flannel's DaemonSet. On standard output it says that it listens.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { serviceAccount } from "./access.ts";
import { kubeconfig, startCluster, userOf } from "./cluster.ts";

/** The program's file. Its words: the address and the port to listen on, the directory. */
export const clusterChild = import.meta.path;
export const LISTENING = "listening";

async function main([host = "", port = "", dir = ""]: readonly string[]): Promise<void> {
  const { server, authority, admin, tokens } = await startCluster({ host, port: Number(port) });
  tokens.set("of-the-pod", serviceAccount("kube-flannel", "heddle-flannel"));
  const write = (name: string, user: Parameters<typeof kubeconfig>[2]): void =>
    writeFileSync(join(dir, name), kubeconfig(server.url, authority.certificate, user), { mode: 0o600 });
  write("admin.conf", userOf(admin));
  write("agent.conf", { token: "of-the-pod" });
  process.stdout.write(`${LISTENING}\n`);
}

if (import.meta.main) await main(process.argv.slice(2));
