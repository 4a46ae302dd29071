/**
 * Hosts whose subnets are those of their nodes in Kubernetes: `heddle flanneld --kube-subnet-mgr` on each, the stand-in for the
 * API server on a wire between them, and kubectl for what the cluster and its people do.
 *
 *     h1 192.0.2.1 ─┐            ┌─ 192.0.2.254:6443  API server
 *     h2 192.0.2.2 ─┴─── wire ───┘
 */
import { expect } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { nodeObject } from "../../src/testing/kubernetes/cluster.ts";
import { clusterChild, LISTENING } from "../../src/testing/kubernetes/child.ts";
import { kubectlProgram } from "../../src/testing/kubernetes/kubectl.ts";
import { type HeddleBinary, heddleOfFile } from "../../src/testing/executable.ts";
import { testWith } from "../../src/testing/needs.ts";
import { type TestNetns, testNetns, type TestProcess } from "../../src/testing/netns.ts";
import { plainEnv } from "../../src/testing/run.ts";
import { patience } from "../../src/testing/slowdown.ts";
import { seenFrom } from "../../src/testing/traffic.ts";
import { tempDir } from "../../src/testing/temp-dir.ts";

const heddle = heddleOfFile();
const program = await kubectlProgram();
const kubeTest = testWith({
  root: true,
  programs: ["ip", "bridge"],
  feature: program === undefined ? "needs kubectl" : true,
});

const SERVER = "192.0.2.254";
const NETWORK = '{"Network":"10.244.0.0/16","EnableNFTables":true,"Backend":{"Type":"vxlan"}}';

const PREFIX = "flannel.alpha.coreos.com";
/** As flanneld 0.28 does it on its node. */
const writtenByFlanneld = {
  [`${PREFIX}/kube-subnet-manager`]: "true",
  [`${PREFIX}/backend-type`]: "vxlan",
  [`${PREFIX}/backend-data`]: '{"VNI":1,"VtepMAC":"8e:5f:0c:2b:7a:41"}',
  [`${PREFIX}/public-ip`]: "192.0.2.77",
};

interface KubeHost {
  readonly name: string;
  readonly netns: TestNetns;
  readonly subnetFile: string;
  readonly start: () => TestProcess;
  /** A container with an address of the host's subnet. */
  readonly container: () => Promise<Container>;
}
interface Container {
  readonly netns: TestNetns;
  readonly ip: string;
}

interface Wire extends AsyncDisposable {
  readonly hosts: readonly KubeHost[];
  readonly server: TestProcess;
  /** kubectl as somebody who may do everything. */
  readonly kubectl: (...words: readonly string[]) => Promise<string>;
  readonly apply: (...objects: readonly object[]) => Promise<void>;
}

async function wire(heddleBinary: HeddleBinary, count: number): Promise<Wire> {
  await using stack = new AsyncDisposableStack();
  const dir = stack.use(tempDir("kube-wire"));
  const middle = stack.use(await testNetns());
  const ip = (netns: TestNetns, ...lines: readonly string[]) =>
    netns.exec(["ip", "-batch", "-"], { stdin: `${lines.join("\n")}\n` });
  await ip(middle, "link add br0 type bridge", "link set br0 up", `address add ${SERVER}/24 dev br0`);
  const server = stack.use(middle.start([process.execPath, clusterChild, SERVER, "6443", dir.path]));
  await server.printed(LISTENING);
  const kubectl: Wire["kubectl"] = async (...words) => {
    const env = { ...plainEnv, HOME: dir.in("home"), KUBECONFIG: dir.in("admin.conf") };
    return (await middle.exec([program ?? "", ...words], { env })).stdout;
  };
  const apply: Wire["apply"] = async (...objects) => {
    const file = dir.in("objects.yaml");
    writeFileSync(file, objects.map((object) => JSON.stringify(object)).join("\n---\n"));
    await kubectl("apply", "-f", file);
  };
  await kubectl(
    "apply",
    "-f",
    new URL("../../examples/kubernetes/heddle-flannel.yaml", import.meta.url).pathname,
  );
  // What runs ends before the namespaces that it is in.
  const running = new AsyncDisposableStack();
  const hosts: KubeHost[] = [];
  for (let n = 1; n <= count; n++) {
    const netns = stack.use(await testNetns());
    const name = `h${n}`;
    await ip(
      middle,
      `link add ${name} master br0 type veth peer name eth0 netns ${netns.name}`,
      `link set ${name} up`,
    );
    await ip(
      netns,
      "link set eth0 up",
      `address add 192.0.2.${n}/24 dev eth0`,
      `route add default via ${SERVER}`,
    );
    hosts.push(
      kubeHost(name, netns, dir.in(name), { heddle: heddleBinary, agentConf: dir.in("agent.conf"), running }),
    );
  }
  stack.use(running);
  await apply(...hosts.map(({ name }, i) => nodeObject(name, [`10.244.${i + 1}.0/24`])));
  const owned = stack.move();
  return { hosts, server, kubectl, apply, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

interface Needs {
  readonly heddle: HeddleBinary;
  readonly agentConf: string;
  /** Takes what has to end with the test. */
  readonly running: AsyncDisposableStack;
}

function kubeHost(name: string, netns: TestNetns, dir: string, needs: Needs): KubeHost {
  const { heddle: binary, running, agentConf } = needs;
  mkdirSync(dir);
  writeFileSync(`${dir}/net-conf.json`, NETWORK);
  const subnetFile = `${dir}/subnet.env`;
  const env = {
    ...plainEnv,
    HEDDLE_RUN_DIR: `${dir}/run`,
    HEDDLE_STATE_DIR: `${dir}/state`,
    CNI_PATH: binary.cniPath,
  };
  const flags = {
    "kube-subnet-mgr": "true",
    "kubeconfig-file": agentConf,
    "net-config-path": `${dir}/net-conf.json`,
    "subnet-file": subnetFile,
    "ip-masq": "true",
  };
  return {
    name,
    netns,
    subnetFile,
    start: () =>
      running.use(
        netns.start(
          [binary.path, "flanneld", ...Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`)],
          { ...env, NODE_NAME: name, HEDDLE_AGENT_SOCKET: `${dir}/agent.sock` },
        ),
      ),
    container: async () => {
      const inside = running.use(await testNetns());
      const conf = {
        cniVersion: "1.0.0",
        name: "cbr0",
        type: "flannel",
        subnetFile,
        dataDir: `${dir}/flannel`,
        ipam: { dataDir: `${dir}/addresses` },
        delegate: { isDefaultGateway: true },
      };
      const { stdout } = await netns.exec([binary.at("flannel")], {
        stdin: JSON.stringify(conf),
        env: {
          ...env,
          CNI_COMMAND: "ADD",
          CNI_CONTAINERID: inside.name,
          CNI_NETNS: inside.path,
          CNI_IFNAME: "eth0",
        },
      });
      const result = JSON.parse(stdout) as { readonly ips: readonly { readonly address: string }[] };
      return { netns: inside, ip: result.ips[0]?.address.split("/")[0] ?? "" };
    },
  };
}

/** Waits for something that is looked at. */
async function until(what: string, look: () => Promise<boolean> | boolean): Promise<void> {
  const end = performance.now() + patience(20_000);
  while (!(await look())) {
    if (performance.now() > end) throw new Error(`${what}: not within 20 s`);
    await Bun.sleep(50);
  }
}
/** The address that a server in the one container sees of the other; undefined if nothing passes. */
const seenBy = (from: Container, to: Container): Promise<string | undefined> =>
  seenFrom(from.netns.path, to.netns.path, to.ip, 8080);
const routesOf = async ({ netns }: KubeHost): Promise<string> =>
  (await netns.exec(["ip", "route", "show"])).stdout;

kubeTest(
  "hosts whose nodes Kubernetes has make one network, and hosts with flanneld are in it",
  async () => {
    await using at = await wire(heddle, 2);
    const [h1, h2] = at.hosts;
    if (h1 === undefined || h2 === undefined) throw new Error("two hosts");
    // As a flanneld has left it that announced an address that somebody wrote.
    const told = {
      ...writtenByFlanneld,
      [`${PREFIX}/backend-data`]: '{"VNI":1,"VtepMAC":"8e:5f:0c:2b:7a:42"}',
      [`${PREFIX}/public-ip-overwrite`]: "192.0.2.77",
    };
    await at.apply(nodeObject("h2", ["10.244.2.0/24"], { annotations: told }));
    h1.start();
    h2.start();
    await until("the hardware address that flanneld told is kept", async () =>
      (await h2.netns.exec(["ip", "-o", "link"])).stdout.includes("8e:5f:0c:2b:7a:42"),
    );
    await at.kubectl("annotate", "node", "h2", `${PREFIX}/public-ip-overwrite-`);
    await until("both hosts have their subnet", () => existsSync(h1.subnetFile) && existsSync(h2.subnetFile));
    const [a, b] = [await h1.container(), await h2.container()];
    expect([a.ip, b.ip]).toEqual([
      expect.stringMatching(/^10\.244\.1\./) as string,
      expect.stringMatching(/^10\.244\.2\./) as string,
    ]);
    await until("the containers reach one another", async () => (await seenBy(a, b)) === a.ip);
    for (const node of ["h1", "h2"])
      await until("the nodes say that their network is there", async () =>
        (await at.kubectl("get", "node", node, "-o", "jsonpath={.status.conditions[*].reason}")).includes(
          "FlannelIsUp",
        ),
      );
    const annotations = await at.kubectl("get", "node", "h1", "-o", "jsonpath={.metadata.annotations}");
    expect(JSON.parse(annotations)).toMatchObject({
      [`${PREFIX}/kube-subnet-manager`]: "true",
      [`${PREFIX}/backend-type`]: "vxlan",
      [`${PREFIX}/backend-data`]: expect.stringMatching(/^\{"VNI":1,"VtepMAC":"[0-9a-f:]{17}"\}$/) as string,
      [`${PREFIX}/public-ip`]: "192.0.2.1",
    });
    await at.apply(nodeObject("h9", ["10.244.9.0/24"], { annotations: writtenByFlanneld }));
    await until("a node of flanneld's is reached as it says", async () => {
      const [routes, neighbours, forwarding] = await Promise.all(
        [
          ["ip", "route"],
          ["ip", "neigh"],
          ["bridge", "fdb", "show", "dev", "flannel.1"],
        ].map(async (words) => (await h1.netns.exec(words)).stdout),
      );
      return (
        routes?.includes("10.244.9.0/24 via 10.244.9.0 dev flannel.1") === true &&
        neighbours?.includes("10.244.9.0 dev flannel.1 lladdr 8e:5f:0c:2b:7a:41 PERMANENT") === true &&
        forwarding?.includes("8e:5f:0c:2b:7a:41 dst 192.0.2.77 self permanent") === true
      );
    });
    await at.kubectl("annotate", "node", "h2", `${PREFIX}/public-ip-overwrite=192.0.2.78`);
    await until("an address that somebody wrote is announced, and packets go there", async () =>
      (await h1.netns.exec(["bridge", "fdb", "show", "dev", "flannel.1"])).stdout.includes("192.0.2.78"),
    );
    await at.kubectl("delete", "node", "h2");
    await until(
      "a node that is deleted is no longer reached",
      async () => !(await routesOf(h1)).includes("10.244.2.0"),
    );
  },
  patience(90_000),
);

kubeTest(
  "while the API server is away nothing changes, and what was missed comes after",
  async () => {
    await using at = await wire(heddle, 2);
    const [h1, h2] = at.hosts;
    if (h1 === undefined || h2 === undefined) throw new Error("two hosts");
    h1.start();
    const two = h2.start();
    await until("both hosts have their subnet", () => existsSync(h1.subnetFile) && existsSync(h2.subnetFile));
    const [a, b] = [await h1.container(), await h2.container()];
    await until("the containers reach one another", async () => (await seenBy(a, b)) === a.ip);
    const before = await routesOf(h1);
    process.kill(at.server.pid, "SIGSTOP");
    await two[Symbol.asyncDispose]();
    h2.start();
    expect(await seenBy(a, b)).toBe(a.ip);
    expect(await routesOf(h1)).toBe(before);
    process.kill(at.server.pid, "SIGCONT");
    await at.kubectl("delete", "node", "h2");
    await until("what was missed comes after", async () => !(await routesOf(h1)).includes("10.244.2.0"));
  },
  patience(90_000),
);
