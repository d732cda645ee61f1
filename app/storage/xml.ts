/** An element of an XML document, without its attributes. */
export interface XmlElement {
  readonly name: string;
  /** What stands directly in it, entities resolved, spaces kept. */
  readonly text: string;
  readonly children: readonly XmlElement[];
}

/** S3's answers have four levels. */
const maxDepth = 16;

/**
 * Reads as much of XML as S3 answers in: elements, text, and the entities that need no declaration. Throws on anything else,
 * and on a document that ends before its first element does.
 */
export function readXml(xml: string): XmlElement {
  const top = { name: "", text: "", children: [] as XmlElement[] };
  const open = [top];
  for (const [, tag = "", text = ""] of xml.matchAll(/<([^<>]*)>([^<]*)/g)) {
    const inner = open.at(-1) ?? top;
    if (tag.startsWith("/")) {
      if (open.length === 1 || tag.slice(1).trimEnd() !== inner.name)
        throw new Error(`"${tag.slice(0, 40)}" closes no element`);
      open.pop();
    } else if (!tag.startsWith("?")) {
      const [name = ""] = /^[A-Za-z_][\w.-]*(?=[\s/]|$)/.exec(tag) ?? [];
      if (name === "" || open.length > maxDepth) throw new Error(`"${tag.slice(0, 40)}" is not understood`);
      const element = { name, text: "", children: [] };
      inner.children.push(element);
      if (!tag.endsWith("/")) open.push(element);
    }
    const holder = open.at(-1) ?? top;
    holder.text += text.includes("&") ? resolveEntities(text) : text;
  }
  const [root] = top.children;
  if (open.length > 1 || root === undefined) throw new Error("it ends in the middle");
  return root;
}

/** What stands in the first child of that name, if there is one. */
export function childText({ children }: XmlElement, name: string): string | undefined {
  return children.find((child) => child.name === name)?.text;
}

const named: ReadonlyMap<string, string> = new Map([
  ["lt", "<"],
  ["gt", ">"],
  ["amp", "&"],
  ["quot", '"'],
  ["apos", "'"],
]);

function resolveEntities(text: string): string {
  return text.replaceAll(/&([^;&]*);?/g, (entity, name: string) => {
    const [, hex, decimal] = /^#(?:x([0-9A-Fa-f]{1,6})|([0-9]{1,7}))$/.exec(name) ?? [];
    const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
    const found = Number.isNaN(code) ? named.get(name) : String.fromCodePoint(code);
    if (found === undefined || !entity.endsWith(";"))
      throw new Error(`"${entity}" is no entity of XML's own`);
    return found;
  });
}
