import type { Device } from "../../netstate/device.ts";

/**
 * Masters whose hardware does not carry further MAC addresses, as a macvlan brings them. It is a warning and no failure:
 * how an access point, a hypervisor's switch or a card is set up cannot be seen from here.
 */
const ADVICE = "ipvlan, which needs no MAC address of its own, works there";

/** Drivers of the cards that hypervisors play, whose switches know which address each guest was given. */
const platforms: Readonly<Record<string, string>> = {
  vmxnet3: "VMware passes other addresses only if the port group accepts forged transmits and MAC changes",
  hv_netvsc: "Hyper-V passes other addresses only if MAC address spoofing is allowed for the virtual machine",
  ena: "the network of Amazon EC2 passes no other address",
  gve: "the network of Google Compute Engine passes no other address",
  vif: "Xen passes other addresses only if the bridge of its host does not lock the port",
};

/** What may keep containers with MAC addresses of their own from the network of this master; none if nothing is known. */
export function masterWarnings(master: string, device: Device | undefined): readonly string[] {
  if (device === undefined) return [];
  if (device.wireless)
    return [
      `master ${master} is wireless: an access point accepts no frames from a MAC address that did not join it; ${ADVICE}`,
    ];
  const platform = device.driver === undefined ? undefined : platforms[device.driver];
  if (platform !== undefined)
    return [`master ${master} is driven by ${device.driver}: ${platform}; ${ADVICE}`];
  if (device.virtualFunction)
    return [
      `master ${master} is a virtual function: its card takes other MAC addresses only if the host trusts it ` +
        `(ip link set DEV vf N trust on), and only a few; ${ADVICE}`,
    ];
  return [];
}
