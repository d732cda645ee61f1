/** Private-use characters around the number of a piece that is put aside: its contents are not markup. */
const opener = "\uE000";
const closer = "\uE001";

const entities: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: " ",
  mdash: "—",
  ndash: "–",
  hellip: "…",
  bull: "•",
  middot: "·",
  copy: "©",
  reg: "®",
  trade: "™",
};

/** A place in parentheses, which may hold a pair of them itself. Neither class can match what the other needs. */
const target = String.raw`\((?:[^()\n]|\([^()\n]*\))*\)`;
const image = new RegExp(String.raw`!\[[^[\]]*\](?:${target}|\[[^[\]]*\])?`, "g");
const link = new RegExp(String.raw`\[([^[\]]*)\](?:${target}|\[[^[\]]*\])`, "g");

/** With the signs that join, colour and pair them; these three are letters of a text. */
const emoji =
  /(?![©®™])\p{Extended_Pictographic}|\p{Regional_Indicator}|\p{Emoji_Modifier}|\u{FE0F}|\u{200D}/gu;

/**
 * The words of a piece of Markdown: links are their texts, images, badges, footnotes, emphasis and emoji go, code spans stay
 * in backticks. One line, with single spaces.
 */
export function plainText(markdown: string): string {
  const aside: string[] = [];
  const putAside = (piece: string): string => `${opener}${aside.push(piece) - 1}${closer}`;
  const text = markdown
    .replace(/[\uE000-\uE0FF]/g, "")
    .replace(/(`+)([^`]+)\1(?!`)/g, (_, _ticks, code: string) =>
      code.trim() === "" ? "" : putAside(`\`${code.trim()}\``),
    )
    .replace(/\\([!-/:-@[-`{-~])/g, (_, escaped: string) => putAside(escaped))
    .replace(image, "")
    .replace(/\[\^[^[\]\s]*\]/g, "")
    .replace(link, "$1")
    // Once more for a link around something that was itself in brackets.
    .replace(link, "$1")
    .replace(/\[([^[\]]+)\]/g, "$1")
    .replace(/<((?:https?|mailto):[^<>\s]*)>/g, "$1")
    .replace(/ ?\(https?:[^()\s]*\)/g, "")
    .replace(/(\*{1,3})(?=\S)([^*]+)(?<=\S)\1/g, "$2")
    .replace(/(\*{1,3})(?=\S)([^*]+)(?<=\S)\1/g, "$2")
    .replace(/(?<![\p{L}\p{N}_])(_{1,3})(?=\S)([^_]+)(?<=\S)\1(?![\p{L}\p{N}_])/gu, "$2")
    .replace(/~~([^~]+)~~/g, "$1")
    .replace(/&(?:#(\d{1,6})|#x([0-9a-f]{1,5})|([a-z]{2,8}));/gi, decodeEntity)
    .replace(/(?<=^|\s):[a-z][a-z0-9_+-]*:(?=\s|$)/g, "")
    .replace(emoji, "")
    .replace(new RegExp(`${opener}(\\d+)${closer}`, "g"), (_, index: string) => aside[Number(index)] ?? "")
    .replace(/\s+/g, " ")
    .replace(/ ([.,;!?])(?=\s|$)/g, "$1");
  return text.trim();
}

function decodeEntity(match: string, decimal?: string, hex?: string, name?: string): string {
  if (name !== undefined) return entities[name.toLowerCase()] ?? match;
  const code = decimal === undefined ? Number.parseInt(hex ?? "", 16) : Number(decimal);
  return code > 31 && code <= 0x10ffff && (code < 0xd800 || code > 0xf8ff) ? String.fromCodePoint(code) : "";
}
