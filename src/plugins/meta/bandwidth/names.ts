/**
 * The name that the reference plugin gives to the shaper of a container: one for all interfaces of the container in a
 * network, so that it can shape one of them only.
 */
export const referenceShaper = (network: string, containerId: string): string =>
  `bwp${new Bun.CryptoHasher("sha512")
    .update(network + containerId)
    .digest("hex")
    .slice(0, 12)}`;
