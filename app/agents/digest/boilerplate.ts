import type { Block } from "./blocks.ts";

/** Sections that say nothing about what a project is or does. */
const section = new RegExp(
  String.raw`^(?:the )?(?:licen[cs]e|licensing|copyright|contribut(?:e|ing|ors?|ions?)|how to contribute|sponsor|backers?|donat|funding` +
    String.raw`|financial|authors?\b|credits?\b|acknowledge?ments?|maintain(?:er|ed by)|team\b|thanks|special thanks|code of conduct` +
    String.raw`|changelog|change log|release notes|releases?$|what'?s new|table of contents|contents$|toc$|index$|badges?$|stargazers` +
    String.raw`|install(?:ation|ing)?\b|community|support(?:ers)?$|support (?:us|me|this)|who uses|used by|users$|security (?:policy|contact)` +
    String.raw`|reporting (?:a |security )?vulnerab|related\b|see also|links$|resources$|further reading|development$|running tests?|tests?$|testing$|build(?:ing)?$)`,
  "i",
);

/** What licences, credits and calls for help say, wherever it stands. */
const sentence =
  /permission is hereby granted|provided "as is"|without warranty|all rights reserved|copyright|\(c\)|©|licen[cs]ed|\blicen[cs]e\b|\bMIT\b|\bBSD\b|\bApache[- ]2|contribut(?:e|or|ion|ing)|pull requests?|code of conduct|sponsor|donat(?:e|ion)|patreon|opencollective|tidelift|maintained by|maintainers?\b|special thanks|thanks to|star (?:this|the) (?:repo|project)|follow (?:me|us)|discord|twitter|stack overflow|\bjoin (?:us|the)\b|\bstar us\b|\bfile an issue|\bopen an issue|\bnpm (?:install|i)\b/i;

/** The blocks without sections that every project has, such as licence, installation and credits, headings included. */
export function withoutBoilerplate(blocks: readonly Block[]): readonly Block[] {
  let skippedLevel: number | undefined;
  return blocks.filter((block, index) => {
    if (block.kind === "heading") {
      if (skippedLevel !== undefined && block.level > skippedLevel) return false;
      // The first heading is the document's title: a project may be called "install" or "links".
      skippedLevel = index > 0 && section.test(block.text) ? block.level : undefined;
    }
    return skippedLevel === undefined;
  });
}

export function isBoilerplate(text: string): boolean {
  return sentence.test(text);
}
