import { plainText } from "./inline.ts";
import { withoutHtml } from "./markup.ts";

/** A piece of a document that people read, in plain words (code spans keep their backticks). */
export type Block =
  | { readonly kind: "heading"; readonly level: number; readonly text: string }
  | { readonly kind: "paragraph"; readonly text: string }
  | { readonly kind: "item"; readonly text: string };

/** Longer lines are generated, not written; the patterns below are then also sure to end soon. */
const maxLineLength = 8192;

/** The headings, paragraphs and list items of a Markdown text, without code, tables, HTML, badges and link targets. */
export function readBlocks(markdown: string): readonly Block[] {
  const text = withoutHtml(
    withoutFences(withoutFrontMatter(markdown.replace(/\r\n?/g, "\n").replace(/^\uFEFF/, ""))),
  );
  const scan = new Scan();
  for (const line of withoutTables(text.split("\n"))) scan.take(line.length > maxLineLength ? "" : line);
  scan.endBlock();
  return scan.blocks;
}

/** Goes down the lines; a block is open until a line that cannot belong to it. */
class Scan {
  readonly blocks: Block[] = [];
  #kind: "paragraph" | "item" = "paragraph";
  #lines: string[] = [];
  #afterBlank = true;
  /** How far the text of the list item is indented under which we are; `undefined` outside lists. */
  #itemIndent: number | undefined;

  take(rawLine: string): void {
    const line = rawLine.replace(/\t/g, "    ").replace(/^ {0,3}(?:> ?)+/, "");
    if (line.trim() === "") {
      this.endBlock();
      this.#afterBlank = true;
      return;
    }
    this.#read(line);
    this.#afterBlank = false;
  }

  endBlock(): void {
    const text = plainText(this.#lines.join(" "));
    if (text !== "") this.blocks.push({ kind: this.#kind, text });
    this.#lines = [];
    this.#kind = "paragraph";
  }

  #read(line: string): void {
    const indent = line.length - line.trimStart().length;
    if (this.#isIndentedCode(indent)) return;
    if (indent < 2 && this.#afterBlank && !isItem(line)) this.#itemIndent = undefined;
    const heading = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/.exec(line);
    if (heading !== null) return this.#heading(heading[1]?.length ?? 1, heading[2] ?? "");
    if (/^ {0,3}=+\s*$/.test(line) && this.#lines.length > 0) return this.#headingAbove(1);
    if (/^ {0,3}-+\s*$/.test(line) && this.#lines.length > 0 && this.#kind === "paragraph")
      return this.#headingAbove(2);
    if (/^ {0,3}(?:(?:- ?){3,}|(?:\* ?){3,}|(?:_ ?){3,})\s*$/.test(line)) return this.endBlock();
    if (/^ {0,3}\[[^\]]+\]:\s/.test(line) || /^\s*\[![A-Z]+\]\s*$/.test(line)) return this.endBlock();
    const item = /^(\s*(?:[-*+]|\d{1,3}[.)])\s+)(?:\[[ xX]\]\s+)?(.*)$/.exec(line);
    if (item !== null) return this.#item(item[1]?.length ?? 2, item[2] ?? "");
    this.#lines.push(line.trim());
    // A hard break ends a line that need not be a sentence: what follows must not be joined to it.
    if (/(?: {2}|\\)$/.test(line)) {
      const kind = this.#kind;
      this.endBlock();
      this.#kind = kind;
    }
  }

  #isIndentedCode(indent: number): boolean {
    if (!this.#afterBlank) return false;
    return indent >= (this.#itemIndent === undefined ? 4 : this.#itemIndent + 4);
  }

  #heading(level: number, raw: string): void {
    this.endBlock();
    this.#itemIndent = undefined;
    const text = plainText(raw.replace(/\{#[^{}]*\}\s*$/, "")).replace(/[\s:]+$/, "");
    if (text !== "") this.blocks.push({ kind: "heading", level, text });
  }

  #headingAbove(level: number): void {
    const raw = this.#lines.join(" ");
    this.#lines = [];
    this.#heading(level, raw);
  }

  #item(indent: number, text: string): void {
    this.endBlock();
    this.#kind = "item";
    this.#itemIndent = indent;
    this.#lines.push(text);
  }
}

function isItem(line: string): boolean {
  return /^\s*(?:[-*+]|\d{1,3}[.)])\s/.test(line);
}

function withoutFrontMatter(text: string): string {
  if (!text.startsWith("---\n")) return text;
  const end = text.indexOf("\n---\n", 3);
  return end === -1 ? text : text.slice(end + 5);
}

/** A fence that is never closed reaches to the end, as in CommonMark. */
function withoutFences(text: string): string {
  let fence: string | undefined;
  const kept: string[] = [];
  for (const line of text.split("\n")) {
    const mark = /^[\s>]*(?:(?:[-*+]|\d{1,3}[.)])\s+)?(`{3,}|~{3,})(.*)$/.exec(line);
    if (fence !== undefined) {
      if (mark?.[1]?.startsWith(fence) === true && mark[2]?.trim() === "") fence = undefined;
    } else if (mark?.[1] !== undefined && !(mark[1].startsWith("`") && mark[2]?.includes("`") === true)) {
      fence = mark[1];
      kept.push("");
    } else {
      kept.push(line);
    }
  }
  return kept.join("\n");
}

function withoutTables(lines: readonly string[]): readonly string[] {
  const kept: string[] = [];
  let inTable = false;
  for (const [index, line] of lines.entries()) {
    if (line.trim() === "") inTable = false;
    else if (line.includes("|") && isDelimiterRow(lines[index + 1] ?? "")) inTable = true;
    kept.push(inTable || line.trimStart().startsWith("|") ? "" : line);
  }
  return kept;
}

function isDelimiterRow(line: string): boolean {
  return line.includes("|") && line.includes("-") && /^[\s|:-]+$/.test(line);
}
