import type { Block } from "./blocks.ts";

export interface Outline {
  readonly title: string;
  /** The headings that show what the document is about, in its own order. */
  readonly headings: readonly string[];
  /** How many headings of the same levels were left out. */
  readonly more: number;
}

const maxHeadings = 10;
/** With fewer than this the next level is shown too. */
const fewHeadings = 3;
const maxHeadingLength = 80;

/** A document's title and main headings. */
export function outlineOf(name: string, blocks: readonly Block[]): Outline {
  const headings = blocks
    .filter((block) => block.kind === "heading")
    .map(({ level, text }) => ({ level, text }));
  const [first] = headings;
  const title = titleFromName(name) ?? first?.text ?? name;
  const others = first !== undefined && isTitle(first, headings) ? headings.slice(1) : headings;
  const shown = [...new Set(upToUsefulLevel(others).map(({ text }) => shortened(text)))];
  return { title, headings: shown.slice(0, maxHeadings), more: Math.max(0, shown.length - maxHeadings) };
}

/** A README is about the folder that it stands in; its own heading is often a logo or a slogan. */
function titleFromName(name: string): string | undefined {
  const parts = name.split("/");
  if (parts.length === 1 || !/^readme\b/i.test(parts.at(-1) ?? "")) return undefined;
  return parts.slice(0, -1).join("/");
}

function isTitle(
  first: { readonly level: number },
  headings: readonly { readonly level: number }[],
): boolean {
  return headings.slice(1).every(({ level }) => level > first.level) || first.level === 1;
}

function upToUsefulLevel(
  headings: readonly { readonly level: number; readonly text: string }[],
): typeof headings {
  for (let level = 1; level < 6; level += 1) {
    const shown = headings.filter((heading) => heading.level <= level);
    if (shown.length >= fewHeadings) return shown;
  }
  return headings;
}

function shortened(text: string): string {
  return text.length <= maxHeadingLength ? text : `${text.slice(0, maxHeadingLength - 1).trimEnd()}…`;
}
