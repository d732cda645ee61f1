import { setTimeout as sleep } from "node:timers/promises";

import { z } from "zod";

import type { WayIn } from "../dev/way-in.ts";
import { DemoError } from "./demo-error.ts";

const run = z.object({
  id: z.string(),
  status: z.string(),
  state: z.unknown(),
  output: z.unknown(),
  error: z.unknown(),
});
export type Run = z.infer<typeof run>;

const historyRow = z.looseObject({
  seq: z.number(),
  at: z.string(),
  kind: z.string(),
  path: z.string(),
  name: z.string(),
  occurrence: z.number(),
  data: z.unknown(),
});
/** A row as an answer showed it, with every field that it had, and the run that it belongs to. */
export type HistoryRow = z.infer<typeof historyRow> & { readonly run: string };

const historyPage = z.object({ items: z.array(historyRow), next: z.unknown() });

const answerMs = 10_000;
const maxTries = 40;
const pauseMs = 250;
const maxPages = 1_000;

interface Request {
  readonly method?: "POST";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** The few calls that the demo makes, with the token of a client. */
export class RunsClient {
  readonly #wayIn: WayIn;

  constructor(wayIn: WayIn) {
    this.#wayIn = wayIn;
  }

  /** Safe to repeat: the idempotency key makes it one run. */
  async start(agent: string, input: unknown, idempotencyKey: string): Promise<Run> {
    return run.parse(
      await this.#call(`/v1/agents/${agent}/runs`, {
        method: "POST",
        headers: { "content-type": "application/json", "idempotency-key": idempotencyKey },
        body: JSON.stringify({ input }),
      }),
    );
  }

  async run(id: string): Promise<Run> {
    return run.parse(await this.#call(`/v1/runs/${id}`));
  }

  /** All rows after `seq` that there are now; pages are followed. */
  async historyAfter(id: string, seq: number): Promise<readonly HistoryRow[]> {
    const rows: HistoryRow[] = [];
    for (let page = 0; page < maxPages; page += 1) {
      const after = rows.at(-1)?.seq ?? seq;
      const { items, next } = historyPage.parse(await this.#call(`/v1/runs/${id}/history?after=${after}`));
      rows.push(...items.map((row) => ({ ...row, run: id })));
      if (items.length === 0 || next === null || next === undefined) return rows;
    }
    throw new DemoError(`The history of run ${id} has more than ${maxPages} pages.`);
  }

  /** A 503 says when to come again. Anything else but success is a failure of the demo. */
  async #call(path: string, request: Request = {}): Promise<unknown> {
    let last = "";
    for (let attempt = 1; attempt <= maxTries; attempt += 1) {
      const answer = await fetch(this.#wayIn.url + path, {
        ...request,
        headers: { ...request.headers, authorization: `Bearer ${this.#wayIn.token}` },
        signal: AbortSignal.timeout(answerMs),
      });
      const text = await answer.text();
      if (answer.ok) return JSON.parse(text);
      last = `${answer.status} ${text.slice(0, 500)}`;
      if (answer.status !== 503) break;
      await sleep(pauseMs);
    }
    throw new DemoError(`${request.method ?? "GET"} ${path} was answered ${last}`);
  }
}
