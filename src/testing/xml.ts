/** Reads a document of XML as strictly as a browser does: the elements, or what is not well-formed. No DTD, no name spaces. */

export interface XmlElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly text: string;
  readonly children: readonly XmlElement[];
}

const NAME = "[A-Za-z_][\\w.:-]*";
const TAG = new RegExp(`^<(/?)(${NAME})((?:\\s+${NAME}="[^"<]*")*)\\s*(/?)>`);
const ATTRIBUTE = new RegExp(`(${NAME})="([^"<]*)"`, "g");
const ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function plain(text: string): string {
  // eslint-disable-next-line no-control-regex -- XML 1.0 has no way to write most of them
  if (/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/.test(text)) throw new Error("XML: a control character");
  return text.replaceAll(/&([^;]*;?)/g, (all, name: string) => {
    const found = ENTITIES[name.slice(0, -1)];
    if (found === undefined || !name.endsWith(";")) throw new Error(`XML: "${all}" is no entity`);
    return found;
  });
}

function attributesOf(text: string): Readonly<Record<string, string>> {
  const all = [...text.matchAll(ATTRIBUTE)].map(([, name = "", value = ""]) => [name, plain(value)] as const);
  if (new Set(all.map(([name]) => name)).size < all.length) throw new Error(`XML: twice the same in ${text}`);
  return Object.fromEntries(all);
}

/** The root element. @throws if the text is not well-formed */
export function parseXml(text: string): XmlElement {
  interface Open {
    readonly name: string;
    readonly attributes: Readonly<Record<string, string>>;
    text: string;
    readonly children: XmlElement[];
  }
  const document: Open = { name: "", attributes: {}, text: "", children: [] };
  const open = [document];
  for (let rest = text; rest !== "";) {
    const top = open.at(-1) ?? document;
    const words = /^[^<]+/.exec(rest)?.[0];
    if (words !== undefined) {
      top.text += plain(words);
      rest = rest.slice(words.length);
      continue;
    }
    const [all = "", closes, name = "", attributes = "", empty] = TAG.exec(rest) ?? [];
    if (all === "") throw new Error(`XML: not a tag: ${rest.slice(0, 60)}`);
    rest = rest.slice(all.length);
    if (closes === "/") {
      if (top.name !== name || open.length === 1) throw new Error(`XML: </${name}> ends <${top.name}>`);
      open.pop();
      continue;
    }
    const element: Open = { name, attributes: attributesOf(attributes), text: "", children: [] };
    top.children.push(element);
    if (empty !== "/") open.push(element);
  }
  const [root] = document.children;
  if (root === undefined || document.children.length > 1 || document.text.trim() !== "" || open.length > 1)
    throw new Error("XML: not one element that is closed");
  return root;
}
