import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { watchEdits } from "../../scripts/dev/edits.ts";
import { findFreePort } from "../../scripts/dev/free-port.ts";
import { supervise } from "../../scripts/dev/supervise.ts";
import { startWorker, type WorkerProcess } from "../../scripts/dev/worker-process.ts";

const timeout = 60_000;

/** Serves until SIGTERM, and tells by its exit that it drained. `WORKER_CRASHES` ends it shortly after it was ready. */
const good = `
import { createServer } from "node:http";
const server = createServer((_, answer) => answer.end("{}"));
server.listen(Number(process.env.PORT));
if (process.env.WORKER_CRASHES) setTimeout(() => process.exit(7), 400);
process.on("SIGTERM", () => process.exit(0));
`;

let folder: string;
let port: number;
let stopping: AbortController;
let forcing: AbortController;
let workers: WorkerProcess[];
let said: string[];
let readyLives: number[];
let finished: Promise<void> | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-dev-"));
  port = await findFreePort(0, 1);
  stopping = new AbortController();
  forcing = new AbortController();
  workers = [];
  said = [];
  readyLives = [];
  finished = undefined;
});

afterEach(async () => {
  stopping.abort();
  forcing.abort();
  await finished;
  for (const worker of workers) worker.kill();
  await rm(folder, { recursive: true, force: true });
});

function begin(environment: NodeJS.ProcessEnv = {}): void {
  const edits = watchEdits([folder], 50);
  const running = supervise({
    url: `http://127.0.0.1:${port}`,
    start() {
      const script = join(folder, "main.mjs");
      const worker = startWorker({
        script,
        environment: { ...process.env, ...environment, PORT: String(port) },
        onLine: () => {},
      });
      workers.push(worker);
      return worker;
    },
    edits,
    stop: stopping.signal,
    force: forcing.signal,
    onReady: (life) => readyLives.push(life),
    say: (line) => said.push(line),
  });
  finished = running.finally(() => edits.close());
}

const put = (source: string): Promise<void> => writeFile(join(folder, "main.mjs"), source);

test("an edit drains the worker and starts it anew on the same port", { timeout }, async () => {
  await put(good);
  begin();
  await vi.waitFor(() => expect(readyLives).toEqual([1]), timeout);
  await put(`${good}// edited\n`);
  await vi.waitFor(() => expect(readyLives).toEqual([1, 2]), timeout);
  expect(await workers[0]?.exited).toEqual({ code: 0, signal: null });
  expect(said.join("\n")).toContain("main.mjs");
});

test("a syntax error is told, and the next edit tries again", { timeout }, async () => {
  await put("const = ;");
  begin();
  await vi.waitFor(() => expect(said.join("\n")).toContain("next edit"), timeout);
  expect(workers).toHaveLength(1);
  await put(good);
  await vi.waitFor(() => expect(readyLives).toEqual([2]), timeout);
});

test("a worker that crashes is started again, until it is a loop", { timeout }, async () => {
  await put(good);
  begin({ WORKER_CRASHES: "1" });
  await vi.waitFor(() => expect(said.join("\n")).toContain("next edit"), timeout);
  expect(workers).toHaveLength(4);
  expect(said.join("\n")).toContain("exit code 7");
});

test("stopping drains the worker and leaves no child", { timeout }, async () => {
  await put(good);
  begin();
  await vi.waitFor(() => expect(readyLives).toEqual([1]), timeout);
  stopping.abort();
  await finished;
  expect(await workers[0]?.exited).toEqual({ code: 0, signal: null });
  expect(() => process.kill(workers[0]?.pid ?? 0, 0)).toThrow(/ESRCH/);
});

test("a worker that will not drain is ended by the second request", { timeout }, async () => {
  await put(good.replace("process.exit(0)", "{}"));
  begin();
  await vi.waitFor(() => expect(readyLives).toEqual([1]), timeout);
  stopping.abort();
  await vi.waitFor(() => expect(said.join("\n")).toContain("Stopping"), timeout);
  forcing.abort();
  await finished;
  expect(await workers[0]?.exited).toEqual({ code: null, signal: "SIGKILL" });
});
