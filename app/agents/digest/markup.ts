/** Tags that end what stands before them, as a blank line does in Markdown. */
const blockTags = "blockquote|br|center|dd|details|div|dl|dt|figcaption|figure|hr|li|ol|p|section|summary|ul";
const inlineTags =
  "a|abbr|b|big|cite|code|del|em|font|i|iframe|img|input|ins|kbd|mark|picture|q|s|samp|small|source|span|strike|strong|sub|sup|tt|u|var|video";

/** Elements whose contents are not prose. */
const droppedElements = ["pre", "table", "script", "style", "svg"];

const tag = new RegExp(
  String.raw`\`[^\`\n]*\`|<(/?)(?:h([1-6])|(${blockTags})|(${inlineTags}))\b[^<>]*>`,
  "gi",
);

/**
 * Markdown without its HTML: headings become Markdown headings, block elements paragraphs, and the rest goes. What stands
 * in backticks is left alone. Only known elements are touched, so that `Promise<string>` stays. Takes linear time.
 */
export function withoutHtml(markdown: string): string {
  let text = withoutBetween(markdown, "<!--", "-->");
  for (const element of droppedElements) text = withoutBetween(text, `<${element}`, `</${element}>`);
  return text
    .replace(tag, (match, closing: string | undefined, level?: string, block?: string, inline?: string) => {
      if (level !== undefined)
        return closing === "/" ? "\n\n" : `\n\n${"#".repeat(Number(level))}${headingMark} `;
      if (block !== undefined)
        return `\n\n${block.toLowerCase() === "li" && closing === "" ? "- " : ""}${trimMark}`;
      if (inline !== undefined) return "";
      return match;
    })
    .replace(new RegExp(String.raw`[${headingMark}${trimMark}]\s*`, "g"), (mark) =>
      mark.startsWith(headingMark) ? " " : "",
    );
}

/** Private-use characters: they mark places from which the white space that follows is taken. */
const headingMark = "\uE010";
const trimMark = "\uE011";

/** Cuts out everything from each `open` to the next `close`; an `open` that is never closed stays. */
function withoutBetween(text: string, open: string, close: string): string {
  const lower = text.toLowerCase();
  // A character whose lower case is longer would shift all places behind it.
  if (lower.length !== text.length) return text;
  let kept = "";
  let from = 0;
  for (let start = lower.indexOf(open); start !== -1; start = lower.indexOf(open, from)) {
    const end = lower.indexOf(close, start + open.length);
    if (end === -1) break;
    kept += `${text.slice(from, start)}\n\n`;
    from = end + close.length;
  }
  return kept + text.slice(from);
}
