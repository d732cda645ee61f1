import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { z } from "zod";

import { waitUntilReady } from "../dev/readiness.ts";
import { makeWayIn } from "../dev/way-in.ts";
import { DemoError } from "./demo-error.ts";
import type { DemoFolder } from "./demo-folder.ts";
import { Family, isEnd } from "./family.ts";
import { drawUp, type Ledger } from "./ledger.ts";
import { progressOf, recordedSteps } from "./progress.ts";
import type { ProgressBar } from "./progress-bar.ts";
import { type HistoryRow, type Run, RunsClient } from "./runs-client.ts";
import { childrenOf, killAtOnce, wipe } from "./sudden-death.ts";
import { TenantFile } from "./tenant-file.ts";
import { beginLife, type LogEvent, type WorkerLife } from "./worker-life.ts";

export interface DrillOptions {
  /** The worker's main module. */
  readonly script: string;
  readonly folder: DemoFolder;
  /** For the worker; the drill adds port, store and data folder. */
  readonly environment: NodeJS.ProcessEnv;
  readonly tenant: string;
  readonly tokenSecret: string;
  /** A run that takes no step for so long after the restart has not gone on. */
  readonly stallMs: number;
  readonly say: (line: string) => void;
  readonly bar: () => ProgressBar;
  /** Told of each worker as it starts, so that a Ctrl+C ends it too. */
  readonly onLife: (life: WorkerLife) => void;
}

export interface DrillResult {
  readonly run: Run;
  /** Of the run and its children. */
  readonly history: readonly HistoryRow[];
  readonly ledger: Ledger;
  /** What the second life logged when it opened the tenant. */
  readonly opened: LogEvent;
}

const startMs = 30_000;
const resumeMs = 60_000;
const halfMs = 120_000;
const deathMs = 10_000;
const drainMs = 30_000;
const pollMs = 100;
/**
 * Starts a run of `digest`, kills worker and Litestream half-way, deletes the data folder, starts the worker again and
 * lets it be until the run has ended. Throws DemoError if a stage does not come about.
 */
export async function drill(options: DrillOptions): Promise<DrillResult> {
  const { folder, say, tenant, tokenSecret } = options;

  const first = await begin(options, 1);
  const client = new RunsClient(await makeWayIn({ url: first.url, tenant, tokenSecret }));
  const { id } = await client.start("digest", {}, randomUUID());
  say(`Run ${id} of the agent digest has started.`);
  const seen = new Family(client, id);
  await follow({ ...options, life: first.life, seen, id, timeoutMs: halfMs });
  const { rows: before } = seen;
  const { state, status } = await client.run(id);
  if (endedStatuses.includes(status)) throw new DemoError(tooShort);

  const killedAt = await killHalfWay(first.life);
  say(`SIGKILL to the worker and to Litestream, half-way: ${String(state)}, ${seen.children} child runs.`);
  await wipe(folder.data);
  say("The data folder is deleted. What is left is the object store.");

  const second = await begin(options, 2);
  say("The worker runs again. Nobody calls: its log tells what it does.");
  const opened = await second.life.first("tenant.opened", resumeMs);
  say(
    `    ${tenant} was opened, epoch ${told(opened, "epoch")}, restored in ${told(opened, "restoreMs")} ms.`,
  );
  const resumed = await second.life.first("run.resumed", resumeMs, ({ run }) => run === id);
  say(
    `    The run goes on, with ${told(resumed, "replayed")} rows of history replayed. Seen in the tenant's file, read-only:`,
  );
  const { total } = progressOf(before);
  await watchFromOutside({ ...options, life: second.life, id, total, opened });

  const askedAgainAt = Date.now();
  say("The run has ended. Only now a client calls, and compares what it was told before with what is there.");
  const again = new RunsClient(await makeWayIn({ url: second.url, tenant, tokenSecret }));
  const found = new Family(again, id);
  await found.ask();
  const { rows: history } = found;
  const run = await again.run(id);
  if (run.status !== "completed")
    throw new DemoError(`The run ended as ${run.status}: ${JSON.stringify(run.error)}`);

  const exit = await second.life.process.stop(drainMs);
  if (exit.code !== 0)
    throw new DemoError(`The worker did not stop properly on SIGTERM: ${JSON.stringify(exit)}`);
  return { run, history, opened, ledger: drawUp(before, history, { killedAt, askedAgainAt }) };
}

async function begin(
  { folder, script, environment, say, onLife }: DrillOptions,
  count: number,
): Promise<{ readonly life: WorkerLife; readonly url: string }> {
  const life = beginLife({
    script,
    environment: { ...environment, PORT: "0", HOLDFAST_STORE: folder.store, HOLDFAST_DATA: folder.data },
    logFile: join(folder.path, `worker-${count}.log`),
  });
  onLife(life);
  const { port } = z.looseObject({ port: z.number() }).parse(await life.first("listening", startMs));
  const url = `http://127.0.0.1:${port}`;
  if (!(await waitUntilReady(url, AbortSignal.timeout(startMs)))) {
    throw new DemoError(`The worker was not ready within ${startMs / 1000} s: ${url}/readyz says why.`);
  }
  life.assertAlive();
  if (count === 1) say(`The worker runs at ${url}, its store is ${folder.storeName}.`);
  return { life, url };
}

/** Asks for what is recorded until half of the steps are. */
async function follow(options: {
  readonly life: WorkerLife;
  readonly seen: Family;
  readonly id: string;
  readonly timeoutMs: number;
  readonly bar: () => ProgressBar;
}): Promise<void> {
  const { life, seen, id } = options;
  const bar = options.bar();
  const deadline = performance.now() + options.timeoutMs;
  try {
    for (;;) {
      life.assertAlive();
      await seen.ask();
      const { done, total } = progressOf(seen.rows);
      bar.update(done, total, recordedSteps(seen.rows).at(-1)?.name ?? "");
      if (isHalfWay(seen.rows, id)) return;
      if (performance.now() > deadline) {
        throw new DemoError(
          `The run did not get far enough within ${options.timeoutMs / 1000} s: ${done} steps.`,
        );
      }
      await sleep(pollMs);
    }
  } finally {
    bar.end();
  }
}

/** Watches the run until it has ended, without a single call. Throws DemoError if it takes no step for `stallMs`. */
async function watchFromOutside(
  options: DrillOptions & {
    readonly life: WorkerLife;
    readonly id: string;
    readonly total: number | undefined;
    readonly opened: LogEvent;
  },
): Promise<void> {
  const { life, folder, tenant, id, total, stallMs } = options;
  const { epoch } = z.looseObject({ epoch: z.number() }).parse(options.opened);
  const file = new TenantFile({ data: folder.data, tenant, epoch });
  const bar = options.bar();
  let last = { steps: -1, at: performance.now() };
  try {
    for (;;) {
      life.assertAlive();
      const { steps, lastStep, status } = file.look(id);
      bar.update(steps, total, lastStep);
      if (endedStatuses.includes(status)) return;
      if (steps > last.steps) last = { steps, at: performance.now() };
      if (performance.now() - last.at > stallMs) {
        throw new DemoError(
          `The run did not go on by itself: it is ${status} after ${steps} steps, for ${stallMs / 1000} s.`,
        );
      }
      await sleep(pollMs);
    }
  } finally {
    bar.end();
    file.close();
  }
}

const tooShort = "The run ended before it could be killed half-way: give it more documents.";
const endedStatuses: readonly string[] = ["completed", "failed", "cancelled"];

/** When the last of them was dead. */
async function killHalfWay(life: WorkerLife): Promise<number> {
  const { pid } = life.process;
  const litestream = life.events("litestream.started").at(-1)?.["pid"];
  const doomed = new Set([pid, ...childrenOf(pid), ...(typeof litestream === "number" ? [litestream] : [])]);
  if (doomed.size < 2) throw new DemoError("No Litestream was found among the worker's children.");
  await killAtOnce([...doomed], deathMs);
  await life.process.exited;
  return Date.now();
}

function isHalfWay(rows: readonly HistoryRow[], id: string): boolean {
  if (rows.some((row) => row.run === id && isEnd(row))) throw new DemoError(tooShort);
  const { done, total } = progressOf(rows);
  return total !== undefined && done >= total / 2;
}

function told(event: LogEvent, field: string): string {
  const value = event[field];
  if (typeof value !== "number") return "?";
  return String(Math.round(value));
}
