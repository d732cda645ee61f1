import { relative } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { describeExit, reactToExit } from "./after-exit.ts";
import type { Edits } from "./edits.ts";
import { projectFolder } from "./project-folder.ts";
import { waitUntilReady } from "./readiness.ts";
import type { WorkerExit, WorkerProcess } from "./worker-process.ts";

type Happening =
  | { readonly kind: "exit"; readonly exit: WorkerExit }
  | { readonly kind: "edit"; readonly files: readonly string[] }
  | { readonly kind: "stop" };

/** A worker drains in less; what hangs longer is ended. */
const graceMs = 30_000;

/**
 * Keeps a worker running until `stop`: starts it anew after an edit, and after a crash unless it crashes in a row.
 * `onReady` is called each time it answers; `life` counts from 1.
 */
export async function supervise(options: {
  readonly url: string;
  readonly start: () => WorkerProcess;
  readonly edits: Edits;
  readonly stop: AbortSignal;
  /** Ends the wait for a worker that is stopping. */
  readonly force: AbortSignal;
  readonly onReady: (life: number, tookMs: number) => void;
  readonly say: (line: string) => void;
}): Promise<void> {
  const { edits, say } = options;
  const stopped = new Promise<Happening>((resolve) => {
    if (options.stop.aborted) resolve({ kind: "stop" });
    options.stop.addEventListener("abort", () => resolve({ kind: "stop" }), { once: true });
  });
  const edited = async (): Promise<Happening> => ({ kind: "edit", files: await edits.next() });
  let crashes = 0;
  for (let life = 1; !options.stop.aborted; life += 1) {
    edits.clear();
    const worker = options.start();
    const readiness = watchReadiness(options, life);
    const exited = worker.exited.then((exit): Happening => ({ kind: "exit", exit }));
    const happening = await Promise.race([exited, edited(), stopped]);
    const wasReady = readiness.end();
    options.force.addEventListener("abort", () => worker.kill(), { once: true });
    if (happening.kind === "stop") {
      say("Stopping …");
      await worker.stop(graceMs);
      return;
    }
    if (happening.kind === "edit") {
      crashes = 0;
      say(`Edited: ${listed(happening.files)}. Starting anew …`);
      const exit = await worker.stop(graceMs);
      if (exit.signal === "SIGKILL")
        say(`The worker did not stop within ${graceMs / 1000} s and was killed.`);
      continue;
    }
    crashes = wasReady.forMs > calmMs ? 1 : crashes + 1;
    const reaction = reactToExit(happening.exit, { wasReady: wasReady.forMs > 0, crashes });
    const waits: Promise<Happening | undefined>[] = [edited(), stopped];
    if (reaction.kind === "again") {
      say(`The worker ${describeExit(happening.exit)}. Starting it again in ${reaction.delayMs / 1000} s …`);
      waits.push(sleep(reaction.delayMs, undefined, { ref: true }));
    } else {
      say(`The worker ${describeExit(happening.exit)}. The next edit starts it again.`);
    }
    const next = await Promise.race(waits);
    if (next?.kind === "edit") crashes = 0;
  }
}

/** Who has served for so long is not in a crash loop. */
const calmMs = 60_000;

function watchReadiness(
  options: { readonly url: string; readonly onReady: (life: number, tookMs: number) => void },
  life: number,
): { end(): { readonly forMs: number } } {
  const ending = new AbortController();
  const startedAt = performance.now();
  let readyAt: number | undefined;
  const watch = async (): Promise<void> => {
    if (!(await waitUntilReady(options.url, ending.signal))) return;
    readyAt = performance.now();
    options.onReady(life, readyAt - startedAt);
  };
  void watch();
  return {
    end() {
      ending.abort();
      return { forMs: readyAt === undefined ? 0 : Math.max(1, performance.now() - readyAt) };
    },
  };
}

const maxListed = 3;

function listed(files: readonly string[]): string {
  const names = files.slice(0, maxListed).map((file) => relative(projectFolder, file));
  return names.join(", ") + (files.length > maxListed ? ` and ${files.length - maxListed} more` : "");
}
