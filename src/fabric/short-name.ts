/** What a name has room for behind `fl0-` in that of a link (IFNAMSIZ, linux/if.h), which is the shortest of all. */
const LONGEST = 11;

/** A fabric's name as part of the names of links and chains, which are short. `name`: letters, digits and dashes. */
export const shortName = (name: string): string =>
  name.length <= LONGEST ? name : new Bun.CryptoHasher("sha256").update(name).digest("hex").slice(0, 8);
