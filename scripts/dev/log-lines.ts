import { prettyFactory } from "pino-pretty";
import { z } from "zod";

/** What the engine says of a run that it pauses because code and history do not agree. */
const mismatch = z.object({
  run: z.string(),
  agent: z.string(),
  msg: z.string().startsWith("The agent's code no longer matches the run's history: "),
});

/**
 * Gives what to print for a line of the worker: a log line readable for a person (as it is, unless `pretty`), and one about a
 * mismatch between code and history as a block that nobody overlooks, since it is the edit just made that is to blame.
 */
export function logLines(options: { readonly pretty: boolean }): (line: string) => string {
  const readable = prettyFactory({ colorize: options.pretty, ignore: "event", singleLine: true });
  return (line) => {
    const parsed = parse(line);
    if (parsed === undefined) return `${line}\n`;
    const found = mismatch.safeParse(parsed).data;
    if (found !== undefined) return block(found, options.pretty);
    return options.pretty ? readable(line) : `${line}\n`;
  };
}

function block({ run, agent, msg }: z.output<typeof mismatch>, colored: boolean): string {
  const what = msg.slice(msg.indexOf(": ") + 2).split(/, (?=history has )/);
  const rule = "━".repeat(72);
  const lines = [
    rule,
    `A RUN WAS PAUSED: its history and the code of agent ${agent} do not agree.`,
    ...what.map((part) => `  · ${part}`),
    "Make the code ask for what history has, then let the run go on:",
    `  POST /v1/runs/${run}/resume`,
    rule,
  ];
  const text = lines.join("\n");
  return `\n${colored ? `\u001B[1;33m${text}\u001B[0m` : text}\n\n`;
}

function parse(line: string): unknown {
  if (!line.startsWith("{")) return undefined;
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
