/** How a process knows that it was called as a plugin of netavark: by the first word after its name. */
const WORDS = ["info", "create", "setup", "teardown"] as const;

export type NetavarkWord = (typeof WORDS)[number];

export const isNetavarkWord = (word: string | undefined): word is NetavarkWord =>
  WORDS.some((w) => w === word);
