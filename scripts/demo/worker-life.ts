import { createWriteStream } from "node:fs";

import { z } from "zod";

import { describeExit } from "../dev/after-exit.ts";
import { startWorker, type WorkerProcess } from "../dev/worker-process.ts";
import { DemoError } from "./demo-error.ts";

/** A line of the worker's log that names an event. */
export type LogEvent = z.infer<typeof logEvent>;
const logEvent = z.looseObject({ event: z.string() });

/** One life of the worker with what its log has told. */
export interface WorkerLife {
  readonly process: WorkerProcess;
  /** All events of that name up to now, oldest first. */
  events(name: string): readonly LogEvent[];
  /** The first event of that name that `isIt` takes. Throws DemoError with the log's end if the worker ends or the time is up before. */
  first(name: string, timeoutMs: number, isIt?: (event: LogEvent) => boolean): Promise<LogEvent>;
  /** Throws DemoError if it has ended. */
  assertAlive(): void;
}

const maxEvents = 10_000;
const maxLastLines = 15;

/** Starts the worker; its whole log goes to `logFile`. */
export function beginLife(options: {
  readonly script: string;
  readonly environment: NodeJS.ProcessEnv;
  readonly logFile: string;
}): WorkerLife {
  const log = createWriteStream(options.logFile, { flags: "a" });
  const events: LogEvent[] = [];
  const lastLines: string[] = [];
  const watchers = new Set<() => void>();
  const worker = startWorker({
    script: options.script,
    environment: options.environment,
    onLine(line) {
      log.write(`${line}\n`);
      if (lastLines.push(line) > maxLastLines) lastLines.shift();
      const event = readEvent(line);
      if (event !== undefined && events.push(event) > maxEvents) events.shift();
      for (const watcher of watchers) watcher();
    },
  });
  let ended: string | undefined;
  const watchEnd = async (): Promise<void> => {
    ended = describeExit(await worker.exited);
    log.end();
    for (const watcher of watchers) watcher();
  };
  void watchEnd();
  const failure = (what: string): DemoError =>
    new DemoError(
      `${what}. Its log (${options.logFile}) ends so:\n${lastLines.map((line) => `    ${line}`).join("\n")}`,
    );
  const all = (name: string): readonly LogEvent[] => events.filter(({ event }) => event === name);
  return {
    process: worker,
    events: all,
    assertAlive() {
      if (ended !== undefined) throw failure(`The worker ${ended}`);
    },
    first(name, timeoutMs, isIt = () => true) {
      return new Promise((resolve, reject) => {
        const settle = (done: () => void): void => {
          clearTimeout(timer);
          watchers.delete(look);
          done();
        };
        const look = (): void => {
          const found = all(name).find(isIt);
          if (found !== undefined) settle(() => resolve(found));
          else if (ended !== undefined)
            settle(() => reject(failure(`The worker ${ended} before it told "${name}"`)));
        };
        const timer = setTimeout(
          () =>
            settle(() => reject(failure(`The worker did not tell "${name}" within ${timeoutMs / 1000} s`))),
          timeoutMs,
        );
        watchers.add(look);
        look();
      });
    },
  };
}

function readEvent(line: string): LogEvent | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    return logEvent.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}
