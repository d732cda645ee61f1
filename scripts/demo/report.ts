import type { LogEvent } from "./worker-life.ts";
import type { Ledger } from "./ledger.ts";

/** The table at the end of the demo. `opened` is what the second life logged when it had restored the tenant. */
export function resultTable(ledger: Ledger, opened: LogEvent, totalSteps: number): string {
  const { cutOff } = ledger;
  const rows = [
    ["Steps acknowledged before the kill", String(ledger.acknowledgedSteps)],
    ["Steps replayed from the replica", String(ledger.replayedSteps)],
    ["Steps run again (cut off by the kill)", cutOff.length === 0 ? "none" : `${cutOff.length} at most`],
    ...cutOff.map(({ name }) => ["", name] as const),
    ["Steps taken before any client called", String(ledger.stepsAlone)],
    ["Steps in all", String(totalSteps)],
    ["Restore from the replica", milliseconds(opened["restoreMs"])],
    ["From the kill to the next step", milliseconds(ledger.pauseMs)],
    ["Acknowledged writes compared", String(ledger.acknowledged)],
    ["Acknowledged writes lost", String(ledger.lost.length)],
  ] as const;
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, value]) => `  ${label.padEnd(width)}  ${value}`).join("\n");
}

/** The start of the digest without its contents, which would fill the screen. */
export function excerpt(markdown: string, maxLines: number): string {
  const lines = markdown
    .replace(/\n## Contents\n[\s\S]*?(?=\n## )/, "\n*(the table of contents is left out here)*\n")
    .split("\n");
  return lines
    .slice(0, maxLines)
    .map((line) => `  │ ${line}`)
    .join("\n");
}

function milliseconds(value: unknown): string {
  return typeof value === "number" ? `${Math.round(value)} ms` : "not told";
}
