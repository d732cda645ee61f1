import { z } from "zod";

import type { HistoryRow, RunsClient } from "./runs-client.ts";

const childStarted = z.object({ runId: z.string() });

/** So many children are asked for at the same time. */
const askers = 8;

/** What answers have shown of a run and its children: every row of each, in the order in which it was shown. */
export class Family {
  readonly rows: HistoryRow[] = [];
  readonly #client: RunsClient;
  readonly #id: string;
  readonly #lastSeq = new Map<string, number>();
  readonly #ended = new Set<string>();

  constructor(client: RunsClient, id: string) {
    this.#client = client;
    this.#id = id;
    this.#lastSeq.set(id, 0);
  }

  /** How many children there are, as far as was shown. */
  get children(): number {
    return this.#lastSeq.size - 1;
  }

  /** Asks for what is new: of the run first, whose rows name its children, then of each child that had not ended. */
  async ask(): Promise<void> {
    await this.#askFor(this.#id);
    const children = [...this.#lastSeq.keys()].filter((id) => id !== this.#id && !this.#ended.has(id));
    // Answers that are asked for together wait for one round of the gate together: one by one the run would outpace them.
    const asker = async (): Promise<void> => {
      for (let id = children.shift(); id !== undefined; id = children.shift()) await this.#askFor(id);
    };
    await Promise.all(Array.from({ length: askers }, asker));
  }

  async #askFor(id: string): Promise<void> {
    const rows = await this.#client.historyAfter(id, this.#lastSeq.get(id) ?? 0);
    for (const row of rows) {
      this.rows.push(row);
      this.#lastSeq.set(id, row.seq);
      if (isEnd(row)) this.#ended.add(id);
      if (row.kind === "child.started") this.#lastSeq.set(childStarted.parse(row.data).runId, 0);
    }
  }
}

export function isEnd({ kind }: HistoryRow): boolean {
  return /^run\.(?:completed|failed|cancelled)$/.test(kind);
}
