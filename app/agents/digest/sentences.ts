/** Made when it is first needed: that takes longer than a tenth of a worker's start. */
let segmenter: Intl.Segmenter | undefined;

/** A full stop behind these ends no sentence. */
const abbreviation = /(?:^|[\s(])(?:e\.g|i\.e|etc|vs|cf|approx|resp|incl|no|fig|st|mr|mrs|dr|[a-z])\.\s*$/i;

/** What is longer is no sentence that anyone would quote, and looking at it again and again takes time. */
const maxOpenLength = 1_000;

/** The sentences of a paragraph of plain words. The last one may be a fragment: see isWholeSentence. */
export function splitSentences(paragraph: string): readonly string[] {
  const sentences: string[] = [];
  let open = "";
  segmenter ??= new Intl.Segmenter("en", { granularity: "sentence" });
  for (const { segment } of segmenter.segment(paragraph)) {
    open += segment;
    if (open.length < maxOpenLength && isOpen(open)) continue;
    sentences.push(open.trim());
    open = "";
  }
  if (open.trim() !== "") sentences.push(open.trim());
  return sentences;
}

/** Whether it begins and ends as a sentence does, has a sentence's length, and consists of words rather than code. */
export function isWholeSentence(text: string): boolean {
  const words = text.replace(/`[^`]*`/g, "code").match(/[\p{L}\p{N}][\p{L}\p{N}'’.-]*/gu)?.length ?? 0;
  if (words < 5 || words > 45 || text.length > 320) return false;
  if (!/[.!?…]["'”’)]*$/.test(text) || /\.\.\.$|…$/.test(text)) return false;
  if (!/^["'“‘(`@\p{L}\p{N}]/u.test(text) || !isBalanced(text)) return false;
  if (/https?:\/\/|www\./.test(text.replace(/`[^`]*`/g, ""))) return false;
  return prose(text).length > text.length / 2;
}

/** Whether a paragraph is the one line without a full stop by which a project says what it is. */
export function isTagline(paragraph: string): boolean {
  const words = prose(paragraph).match(/[\p{L}\p{N}][\p{L}\p{N}'’.-]*/gu)?.length ?? 0;
  if (words < 4 || words > 25 || paragraph.length > 200) return false;
  if (!/^["'“‘`@\p{L}\p{N}].*[\p{L}\p{N}`)]$/u.test(paragraph) || !isBalanced(paragraph)) return false;
  // Rows of links have separators, and lines that lead up to something a colon.
  return !/https?:|www\.|[•|·:=<>→]| [-–—/] .* [-–—/] |\.\s/.test(prose(paragraph));
}

/** The text without its code spans. */
export function prose(text: string): string {
  return text.replace(/`[^`]*`/g, " ");
}

function isOpen(text: string): boolean {
  return abbreviation.test(prose(text)) || !isBalanced(text);
}

function isBalanced(text: string): boolean {
  if ((text.match(/`/g)?.length ?? 0) % 2 === 1) return false;
  const outside = prose(text);
  return (outside.match(/\(/g)?.length ?? 0) === (outside.match(/\)/g)?.length ?? 0);
}
