import type { Figure } from "./figure.ts";

/** The figures as a table in Markdown, aligned so that a terminal shows it too. */
export function figureTable(figures: readonly Figure[]): string {
  const head = ["figure", "measured", "floor", "ratio", "aim"];
  const rows = figures.map((figure) => [
    figure.what,
    amount(figure),
    figure.floor === null ? "–" : `${amount({ ...figure.floor, unit: figure.unit })}: ${figure.floor.what}`,
    figure.floor === null ? "–" : ratio(figure.value, figure.floor.value),
    figure.aim ?? "–",
  ]);
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}

/** What else is known of each figure, a line each. */
export function figureNotes(figures: readonly Figure[]): string {
  return figures
    .flatMap(({ what, note, profile }) =>
      [note, profile].flatMap((text) => (text === undefined ? [] : [`- ${what}: ${text}`])),
    )
    .join("\n");
}

/** `5,120 steps/s`, or where the slowest are known `4.1 / 9.8 ms` for half of them and 99 of 100. */
function amount({ value, p99, unit }: Pick<Figure, "value" | "p99" | "unit">): string {
  return `${[value, ...(p99 === undefined ? [] : [p99])].map(digits).join(" / ")} ${unit}`;
}

function ratio(value: number, floor: number): string {
  return floor === 0 ? "–" : `${digits(value / floor)} ×`;
}

/** Three digits that mean something. */
function digits(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en-US");
  return Number(value.toPrecision(Math.abs(value) < 1 ? 2 : 3)).toString();
}
