import type { Block } from "./blocks.ts";
import { isBoilerplate } from "./boilerplate.ts";
import { isTagline, isWholeSentence, splitSentences } from "./sentences.ts";
import { type DocumentFrequencies, termsOf, weighTerms } from "./terms.ts";

interface Candidate {
  readonly text: string;
  readonly terms: ReadonlySet<string>;
  /** Place among the candidates of the document. */
  readonly index: number;
  readonly score: number;
}

/** Words that point at something said before, which the digest does not show. */
const dangling =
  /^(?:[("“]|this\b|that\b|these\b|those\b|it\b|its\b|it's\b|they\b|he\b|she\b|there\b|here\b|however|but\b|and\b|or\b|so\b|then\b|also|again|otherwise|instead|therefore|thus|hence|finally|additionally|furthermore|moreover|similarly|in (?:this|that|the above|such)|for (?:example|instance|this|more)|e\.g|as (?:above|you can|a result|mentioned)|the (?:above|below|following|former|latter|same|first|second|third|last)|if (?:so|not|this|that)|both\b|see\b|read\b|click|check|note\b|please|let's|now\b|first\b|next\b|to (?:do|fix|avoid) (?:this|that|so)|because of this|unlike|we\b|i\b|i'm|i've|you'll|you can see)/i;

const chatter =
  /\b(?:i|i'm|i've|i'd|my|me)\b|\b(?:below|above|here)\b|following|\bthanks\b|\bclick\b|\bTODO\b|\bv?\d+\.\d+\.\d+\b|\bas of\b|!$|\?$|\bissue\b|\bin this (?:example|case|section)\b/i;

/** How little two chosen sentences may have in common: the share of the smaller one's terms. */
const maxOverlap = 0.6;

/** A sentence that weighs less than this share of the best one is not worth quoting. */
const minShareOfBest = 0.3;

/** A tagline stands in one of so many first paragraphs. */
const taglineBlocks = 4;

/**
 * The sentences that say most about a document, in its own order: at most `count`, whole, each understandable by itself.
 * A sentence weighs as much as its terms do by TF-IDF; what stands first weighs more, what points elsewhere less.
 */
export function keySentences(
  blocks: readonly Block[],
  frequencies: DocumentFrequencies,
  { title, count }: { readonly title: string; readonly count: number },
): readonly string[] {
  const ranked = candidates(blocks, frequencies, title).toSorted(
    (one, other) => other.score - one.score || one.index - other.index,
  );
  const chosen: Candidate[] = [];
  for (const candidate of ranked) {
    if (chosen.length === count || candidate.score < minShareOfBest * (ranked[0]?.score ?? 0)) break;
    if (chosen.every((other) => overlap(candidate.terms, other.terms) <= maxOverlap)) chosen.push(candidate);
  }
  return chosen.toSorted((one, other) => one.index - other.index).map(({ text }) => text);
}

function candidates(blocks: readonly Block[], frequencies: DocumentFrequencies, title: string): Candidate[] {
  const all = blocks.flatMap((block) => termsOf(block.text));
  const weights = new Map(weighTerms(all, frequencies).map(({ term, weight }) => [term, weight]));
  const names = new Set(title.toLowerCase().split(/[^\p{L}\p{N}-]+/u));
  const found: Candidate[] = [];
  const seen = new Set<string>();
  for (const [blockIndex, block] of blocks.entries()) {
    if (block.kind === "heading") continue;
    for (const [place, text] of splitSentences(block.text).entries()) {
      const isQuotable =
        isWholeSentence(text) || (blockIndex < taglineBlocks && text === block.text && isTagline(text));
      if (!isQuotable || !startsWell(text, place) || isBoilerplate(text) || seen.has(text)) continue;
      seen.add(text);
      const terms = new Set(termsOf(text));
      if (terms.size < 3) continue;
      const mass = [...terms].reduce((sum, term) => sum + (weights.get(term) ?? 0), 0);
      const score =
        (mass / Math.sqrt(terms.size + 2)) *
        emphasis({ text, block, blockIndex, place, names, found: found.length });
      found.push({ text, terms, index: found.length, score });
    }
  }
  return found;
}

/** A lower-case start is a name ("esbuild is …") at the start of a paragraph, and a torn sentence elsewhere. */
function startsWell(text: string, place: number): boolean {
  return !/^["'“‘(]*\p{Ll}/u.test(text) || place === 0;
}

function emphasis(sentence: {
  readonly text: string;
  readonly block: Block;
  readonly blockIndex: number;
  readonly place: number;
  readonly names: ReadonlySet<string>;
  /** How many candidates came before. */
  readonly found: number;
}): number {
  const { text, block, blockIndex, place, names, found } = sentence;
  const early = 1 + 1.5 / (1 + blockIndex / 2);
  const opensParagraph = place === 0 ? 1.15 : 1;
  const defines =
    names.has(firstWord(text)) || /^(?:an?|the) [^.]* (?:for|to|that|which|of)\b/i.test(text) ? 1.4 : 1;
  const points = dangling.test(text) ? 0.35 : 1;
  const talks = chatter.test(text) ? 0.5 : 1;
  const first = found === 0 ? 1.3 : 1;
  const lists = block.kind === "paragraph" ? 1 : /^(?:`|\S+: )/.test(text) ? 0.4 : 0.6;
  return early * first * opensParagraph * defines * points * talks * lists;
}

function firstWord(text: string): string {
  return /^["'“‘(`@]*([\p{L}\p{N}-]+)/u.exec(text)?.[1]?.toLowerCase() ?? "";
}

function overlap(one: ReadonlySet<string>, other: ReadonlySet<string>): number {
  const shared = [...one].filter((term) => other.has(term)).length;
  return shared / Math.max(1, Math.min(one.size, other.size));
}
