/** `npm run bench`: how fast it is here, each figure beside what the machine could do at most in the same minutes. */
import { cpus, totalmem } from "node:os";
import { parseArgs } from "node:util";

import { childrenPart } from "./bench/children.ts";
import { coldPart } from "./bench/cold.ts";
import type { Part, Size } from "./bench/figure.ts";
import { hostsPart } from "./bench/hosts.ts";
import { historyPart } from "./bench/history.ts";
import { localPart } from "./bench/local.ts";
import { parkedPart } from "./bench/parked.ts";
import { replicatedPart } from "./bench/replicated.ts";
import { figureNotes, figureTable } from "./bench/table.ts";

const parts: readonly Part[] = [
  localPart,
  historyPart,
  childrenPart,
  parkedPart,
  replicatedPart,
  hostsPart,
  coldPart,
];

const help = `npm run bench [-- --only NAME …] [--tiny]

Measures and prints a table for each part; takes about three minutes. Nothing is kept, unless it is cut off.

  --only   a part, may be given more than once: ${parts.map(({ name }) => name).join(", ")}
  --tiny   so small that the figures mean nothing: shows that everything runs
  --help   this text`;

// So that what was started is ended: listeners of "exit" do that, and a signal alone would call none.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => process.exit(130));

const { values: flags } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    tiny: { type: "boolean" },
    help: { type: "boolean" },
  },
});
if (flags.help === true) console.log(help);
else await bench(flags.only, flags.tiny === true ? "tiny" : "full");

async function bench(only: readonly string[] | undefined, size: Size): Promise<void> {
  const unknown = only?.find((name) => !parts.some((part) => part.name === name));
  if (unknown !== undefined) {
    console.error(`bench: there is no part "${unknown}".\n\n${help}`);
    process.exitCode = 1;
    return;
  }
  console.log(machine());
  for (const { name, title, run } of parts) {
    if (only !== undefined && !only.includes(name)) continue;
    const figures = await run(size);
    console.log(`\n## ${title}\n\n${figureTable(figures)}\n\n${figureNotes(figures)}`);
  }
}

function machine(): string {
  const [cpu] = cpus();
  const memoryGb = Math.round(totalmem() / 2 ** 30);
  return `${cpus().length} × ${cpu?.model ?? "unknown processor"}, ${memoryGb} GB, Node ${process.versions.node}, ${process.platform}`;
}
