import type { Outline } from "./outline.ts";

/** What the digest says about one document. */
export interface Entry {
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
  /** Set if only the start of the document was looked at. */
  readonly cut: boolean;
  readonly outline: Outline;
  readonly terms: readonly string[];
  readonly sentences: readonly string[];
}

export interface Digest {
  readonly entries: readonly Entry[];
  readonly skipped: readonly { readonly name: string; readonly why: string }[];
  /** Documents beyond the bound of one run. */
  readonly leftOut: number;
  readonly topTerms: readonly { readonly term: string; readonly documents: number }[];
}

/** The digest as one Markdown text, which ends with a line break. */
export function compose({ entries, skipped, leftOut, topTerms }: Digest): string {
  const quoted = entries.filter(({ sentences }) => sentences.length > 0);
  const silent = entries.filter(({ sentences }) => sentences.length === 0);
  const anchors = anchorsOf(quoted.map(({ outline }) => outline.title));
  const rest = [
    ...skipped.map(({ name, why }) => `- \`${name}\`: ${why}`),
    ...silent.map((entry) => `- ${source(entry)}: no whole sentence about the matter`),
    ...(leftOut === 0 ? [] : [`- ${count(leftOut, "more document")} beyond the bound of one digest`]),
  ];
  const sections = [
    `# Digest of ${count(entries.length + skipped.length, "document")}`,
    summary(entries, quoted),
    ...(topTerms.length === 0 ? [] : [`**Most in common:** ${topTerms.map(commonTerm).join(" · ")}`]),
    "## Contents",
    quoted.map(({ outline }, index) => `- [${escaped(outline.title)}](#${anchors[index] ?? ""})`).join("\n"),
    ...quoted.flatMap(entrySections),
    ...(rest.length === 0 ? [] : ["## Not quoted", rest.join("\n")]),
  ];
  return `${sections.filter((section) => section !== "").join("\n\n")}\n`;
}

function summary(entries: readonly Entry[], quoted: readonly Entry[]): string {
  const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  const sentences = quoted.reduce((sum, entry) => sum + entry.sentences.length, 0);
  return `${size(bytes)} of text in ${count(sentences, "sentence")}, each quoted as it stands in its source.`;
}

function commonTerm({ term, documents }: { readonly term: string; readonly documents: number }): string {
  return `${escaped(term)} (${documents})`;
}

function entrySections(entry: Entry): readonly string[] {
  const { outline, terms, sentences } = entry;
  const more = outline.more === 0 ? "" : ` · and ${outline.more} more`;
  const facts = [
    source(entry),
    ...(outline.headings.length === 0
      ? []
      : [`**Headings:** ${outline.headings.map(escaped).join(" · ")}${more}`]),
    ...(terms.length === 0 ? [] : [`**Terms:** ${terms.map(escaped).join(", ")}`]),
  ];
  return [
    `## ${escaped(outline.title)}`,
    sentences.map((sentence) => `- ${escaped(sentence)}`).join("\n"),
    facts.join("  \n"),
  ];
}

function source({ name, bytes, sha256, cut }: Entry): string {
  return `\`${name}\` (${size(bytes)}, sha256 ${sha256.slice(0, 12)}${cut ? ", its start only" : ""})`;
}

/** Kept as written inside code spans; outside them nothing of a source may act as markup here. */
function escaped(text: string): string {
  return text
    .split(/(`[^`]*`)/)
    .map((part, index) =>
      index % 2 === 1
        ? part
        : part.replace(/[\\*<[\]`]|(?<![\p{L}\p{N}])_|_(?![\p{L}\p{N}])/gu, String.raw`\$&`),
    )
    .join("")
    .replace(/^([#>+-]|\d+[.)])(?=\s)/, String.raw`\$1`);
}

/** Anchors as GitHub makes them from headings; a repeated one gets a number. */
function anchorsOf(titles: readonly string[]): readonly string[] {
  const used = new Map<string, number>();
  return titles.map((title) => {
    const anchor = title
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replace(/\s/g, "-");
    const before = used.get(anchor) ?? 0;
    used.set(anchor, before + 1);
    return before === 0 ? anchor : `${anchor}-${before}`;
  });
}

function count(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? "" : "s"}`;
}

function size(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const [value, unit] = bytes < 1024 ** 2 ? [bytes / 1024, "KiB"] : [bytes / 1024 ** 2, "MiB"];
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
}
