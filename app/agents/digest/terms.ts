import { prose } from "./sentences.ts";

const stopWords = new Set(
  (
    "a able about above after again all allow allows also although always an and another any anything are aren't around as at available " +
    "avoid away back based be because become been before being below best better between both but by called can can't cannot case cases " +
    "cause come could couldn't currently default did didn't different do does doesn't doing don't done down due during each either else " +
    "enough etc even ever every everything example examples few find first following for found from full fully further get gets getting " +
    "give given gives go goes going good had has have haven't having he help helps her here his how however i i'd i'll i'm i've if in " +
    "including instead into is isn't it it'll it's its itself just keep know last least less let let's like little long lot lots made " +
    "make makes making many may maybe me means might more most much must my need needed needs never new next no non none nor not note " +
    "nothing now of off often ok on once one ones only onto or other others otherwise our out over own part per please possible provide " +
    "provided provides put quite rather really right said same say see set several she should shouldn't show shown simple simply since " +
    "so some someone something sometimes soon still such sure take takes than that that's the their them then there there's these they " +
    "they're thing things this those though three through thus to together too toward try two under unless until up upon us use used " +
    "useful user uses using usually various very via want wants was wasn't way ways we we're well were what when where whether which " +
    "while who whole whose why will with within without won't work works would wouldn't write written yes yet you you'd you'll you're " +
    "your yours yourself section readme documentation docs doc http https www com github npm usage"
  ).split(/\s+/),
);

const maxTermLength = 40;

/** Added to a document's length, so that the few words of a very short one do not outweigh all others. */
const shortDocument = 50;

/** The content words of a text in order: lower case, plural endings cut, code spans and stop words left out. */
export function termsOf(text: string): readonly string[] {
  const terms: string[] = [];
  for (const [word] of words(text).matchAll(/\p{L}[\p{L}\p{N}'’-]*/gu)) {
    const plain = word
      .toLowerCase()
      .replaceAll("’", "'")
      .replace(/'s$|[-']+$/g, "");
    if (plain.length < 3 || plain.length > maxTermLength || stopWords.has(plain)) continue;
    const term = singular(plain);
    if (!stopWords.has(term)) terms.push(term);
  }
  return terms;
}

/** Without code, addresses and names of accounts, which would be the rarest terms of all. */
function words(text: string): string {
  return prose(text).replace(/\bhttps?:\S+|\S+@\S+|(?<=^|\s)@[\w-]+(?![\w/-])/g, " ");
}

/** In how many of the documents each term stands. */
export interface DocumentFrequencies {
  readonly documents: number;
  readonly byTerm: ReadonlyMap<string, number>;
}

/** `documents` holds the terms of each document. */
export function documentFrequencies(documents: readonly (readonly string[])[]): DocumentFrequencies {
  const byTerm = new Map<string, number>();
  for (const terms of documents) {
    for (const term of new Set(terms)) byTerm.set(term, (byTerm.get(term) ?? 0) + 1);
  }
  return { documents: documents.length, byTerm };
}

/** Smoothed inverse document frequency: 1 for a term of every document, more the rarer it is. */
export function inverseFrequency(term: string, frequencies: DocumentFrequencies): number {
  return Math.log((1 + frequencies.documents) / (1 + (frequencies.byTerm.get(term) ?? 0))) + 1;
}

export interface WeighedTerm {
  readonly term: string;
  readonly weight: number;
}

/** The terms of one document by TF-IDF, heaviest first; equal ones by name, so that a replay sees the same order. */
export function weighTerms(
  terms: readonly string[],
  frequencies: DocumentFrequencies,
): readonly WeighedTerm[] {
  const counts = new Map<string, number>();
  for (const term of terms) counts.set(term, (counts.get(term) ?? 0) + 1);
  return byWeight(
    [...counts].map(([term, count]) => ({
      term,
      weight: (count / (terms.length + shortDocument)) * inverseFrequency(term, frequencies),
    })),
  );
}

/** The terms that the documents have in common: heavy in several of them. Terms of one document only are its own. */
export function commonTerms(
  documents: readonly (readonly string[])[],
  frequencies: DocumentFrequencies,
): readonly WeighedTerm[] {
  const sums = new Map<string, number>();
  for (const terms of documents) {
    for (const { term, weight } of weighTerms(terms, frequencies))
      sums.set(term, (sums.get(term) ?? 0) + weight);
  }
  const shared = [...sums].filter(
    ([term]) => documents.length < 2 || (frequencies.byTerm.get(term) ?? 0) > 1,
  );
  return byWeight(shared.map(([term, weight]) => ({ term, weight })));
}

function byWeight(terms: readonly WeighedTerm[]): readonly WeighedTerm[] {
  return terms.toSorted((one, other) => other.weight - one.weight || (one.term < other.term ? -1 : 1));
}

/** Only the plural: a real stemmer's stems ("librari") are not for showing. */
function singular(word: string): string {
  if (word.length < 4 || /(?:ss|us|is|js|'s)$/.test(word) || !word.endsWith("s")) return word;
  if (word.endsWith("ies") && word.length > 4) return `${word.slice(0, -3)}y`;
  if (/(?:ss|sh|ch|x|zz)es$/.test(word)) return word.slice(0, -2);
  return word.slice(0, -1);
}
