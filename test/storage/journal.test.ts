import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { HistoryEvent, RunRecord, SignalRecord, Write } from "../../app/engine/journal.ts";
import { clearCodec, sealingCodec, type Codec } from "../../app/storage/codec.ts";
import { SqliteJournal } from "../../app/storage/journal.ts";
import { connect, type Connection } from "../../db/connect.ts";
import { migrate } from "../../db/migrate.ts";
import { temporaryConnection, temporaryPath } from "../db/temporary-database.ts";

interface JournalOptions {
  readonly codec?: Codec;
  readonly gate?: () => Promise<void>;
}

async function open({
  codec = sealingCodec("1", randomBytes(32)),
  gate = async () => {},
}: JournalOptions = {}) {
  const connection = temporaryConnection();
  await migrate(connection);
  return { connection, journal: new SqliteJournal(connection, codec, gate) };
}

const runId = (index: number): string => `run-${String(index).padStart(4, "0")}`;

function aRun(index: number, run: Partial<RunRecord> = {}): RunRecord {
  return {
    id: runId(index),
    agent: "digest",
    version: null,
    status: "running",
    durability: "replicated",
    input: { index },
    output: undefined,
    error: null,
    state: undefined,
    parent: null,
    idempotencyKey: null,
    fingerprint: null,
    createdAt: 1_000 + index,
    startedAt: null,
    endedAt: null,
    wakeAt: null,
    ...run,
  };
}

function anEvent(seq: number, event: Partial<HistoryEvent> = {}): HistoryEvent {
  return {
    runId: runId(1),
    seq,
    at: 5_000 + seq,
    kind: "step.completed",
    path: "",
    name: "step",
    occurrence: 0,
    attempt: 1,
    data: { seq },
    ...event,
  };
}

function aSignal(id: string, signal: Partial<SignalRecord> = {}): SignalRecord {
  return {
    id,
    runId: runId(1),
    name: "go",
    idempotencyKey: null,
    payload: id,
    at: 1,
    takenBySeq: null,
    ...signal,
  };
}

const createRun = (index: number, run?: Partial<RunRecord>): Write => ({
  kind: "create-run",
  run: aRun(index, run),
});
const event = (seq: number, data?: Partial<HistoryEvent>): Write => ({
  kind: "event",
  event: anEvent(seq, data),
});

describe("group commit", () => {
  test("what is appended in one turn of the event loop is one commit", async () => {
    const { connection, journal } = await open();
    const before = connection.commits;
    await Promise.all(Array.from({ length: 100 }, (_none, index) => journal.append([createRun(index)])));
    expect(connection.commits).toBe(before + 1);
    expect(await journal.runs({ limit: 1_000 })).toHaveLength(100);
  });

  test("what comes while a commit is under way goes out together with the next", async () => {
    const { connection, journal } = await open();
    const before = connection.commits;
    const first = journal.append([createRun(0)]);
    await new Promise((resolve) => setImmediate(resolve));
    const rest = Array.from({ length: 50 }, (_none, index) => journal.append([createRun(index + 1)]));
    await Promise.all([first, ...rest]);
    expect(connection.commits - before).toBeLessThanOrEqual(2);
  });

  test("one bad write fails alone, and wholly, while those beside it are committed", async () => {
    const { journal } = await open();
    const results = await Promise.allSettled([
      journal.append([createRun(1)]),
      journal.append([createRun(2), event(1, { runId: runId(2) }), createRun(1)]),
      journal.append([event(1), event(2)]),
      journal.append([event(2)]),
    ]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled", "rejected"]);
    expect((await journal.runs({ limit: 10 })).map(({ id }) => id)).toEqual([runId(1)]);
    expect(await journal.history(runId(2), { after: 0, limit: 10 })).toEqual([]);
    expect(await journal.history(runId(1), { after: 0, limit: 10 })).toHaveLength(2);
  });

  test("a value that has no JSON form fails its own write only", async () => {
    const { journal } = await open();
    const [bad, good] = await Promise.allSettled([
      journal.append([createRun(1, { input: 1n })]),
      journal.append([createRun(2)]),
    ]);
    expect([bad.status, good.status]).toEqual(["rejected", "fulfilled"]);
    expect((await journal.runs({ limit: 10 })).map(({ id }) => id)).toEqual([runId(2)]);
  });

  test("a flush ends although appends never do, and covers what came before it", async () => {
    const { journal } = await open();
    await journal.append([createRun(1)]);
    const stop = new AbortController();
    const bound = 5_000;
    let seq = 0;
    // Each of them appends again as soon as it is committed, so that there is always something pending.
    const writers = Array.from({ length: 8 }, async () => {
      while (!stop.signal.aborted && seq < bound) await journal.append([event((seq += 1))]);
    });
    const covered = seq;
    await journal.flush();
    const rows = await journal.history(runId(1), { after: 0, limit: bound });
    stop.abort();
    await Promise.all(writers);
    expect(rows.length).toBeGreaterThanOrEqual(covered);
    expect(rows.length).toBeLessThan(bound);
  });

  test("a flush waits for the failures too", async () => {
    const { journal } = await open();
    const bad = journal.append([createRun(1), createRun(1)]);
    let failed = false;
    bad.catch(() => (failed = true));
    await journal.flush();
    expect(failed).toBe(true);
  });

  test("the gate is asked when everything appended before is committed, and its refusal is passed on", async () => {
    const seen: number[] = [];
    const refusal = new Error("The store cannot be reached.");
    const { journal, connection } = await open({
      gate: async () => {
        seen.push(connection.commits);
        throw refusal;
      },
    });
    const before = connection.commits;
    const appended = journal.append([createRun(1)]);
    await expect(journal.durable()).rejects.toBe(refusal);
    expect(seen).toEqual([before + 1]);
    await appended;
  });
});

describe("reads", () => {
  test("a record comes back as it was written, absent values included", async () => {
    const { journal } = await open();
    const full = aRun(1, {
      version: "2",
      status: "failed",
      durability: "local",
      output: { ok: false },
      error: { name: "StepError", message: "no", step: "a", cause: { name: "Error", message: "why" } },
      parent: "run-0",
      idempotencyKey: "key",
      fingerprint: "abc",
      startedAt: 2,
      endedAt: 3,
      wakeAt: 4,
    });
    await journal.append([{ kind: "create-run", run: full }, createRun(2, { input: undefined })]);
    expect(await journal.run(runId(1))).toEqual({ ...full, updatedAt: full.createdAt });
    expect(await journal.runByIdempotencyKey("key")).toEqual(full);
    expect(await journal.run(runId(2))).toMatchObject({ input: undefined, output: undefined, error: null });
    expect(await journal.run("nobody")).toBeUndefined();
    expect(await journal.runByIdempotencyKey("nobody")).toBeUndefined();
  });

  test("a patch changes what it names, and null is a value", async () => {
    const { journal } = await open();
    await journal.append([createRun(1, { wakeAt: 5 })]);
    await journal.append([
      { kind: "patch-run", runId: runId(1), patch: { status: "completed", output: null, endedAt: 9 } },
    ]);
    expect(await journal.run(runId(1))).toMatchObject({
      status: "completed",
      output: null,
      endedAt: 9,
      wakeAt: 5,
    });
    await journal.append([{ kind: "patch-run", runId: runId(1), patch: { wakeAt: null } }]);
    expect(await journal.run(runId(1))).toMatchObject({
      status: "completed",
      output: null,
      endedAt: 9,
      wakeAt: null,
    });
  });

  test("a run was updated when its last row was written", async () => {
    const { journal } = await open();
    await journal.append([createRun(1), event(1, { at: 10 }), event(2, { at: 7_000 })]);
    expect((await journal.run(runId(1)))?.updatedAt).toBe(7_000);
  });

  test("lists come newest first, page by page without a gap, and filtered by agent and status", async () => {
    const { journal } = await open();
    const wanted = Array.from({ length: 40 }, (_none, index) =>
      createRun(index, {
        agent: index % 2 === 0 ? "even" : "odd",
        status: index % 4 < 2 ? "completed" : "waiting",
      }),
    );
    await journal.append(wanted);
    const pages: string[] = [];
    for (let before: string | undefined; pages.length < 40; before = pages.at(-1)) {
      const page = await journal.runs({ limit: 7, before });
      expect(page.length).toBeGreaterThan(0);
      pages.push(...page.map(({ id }) => id));
    }
    expect(pages).toEqual(Array.from({ length: 40 }, (_none, index) => runId(39 - index)));
    expect(await journal.runs({ limit: 7, before: runId(0) })).toEqual([]);
    const evens = await journal.runs({ limit: 100, agent: "even", status: "waiting", before: runId(20) });
    expect(evens.map(({ id }) => id)).toEqual([18, 14, 10, 6, 2].map(runId));
    expect(await journal.runs({ limit: 100, status: "waiting" })).toHaveLength(20);
    expect(await journal.runs({ limit: 100, agent: "nobody" })).toEqual([]);
    expect(await journal.countRunsByStatus()).toEqual({ completed: 20, waiting: 20 });
  });

  test("unfinished runs are those that have not ended, oldest first", async () => {
    const { journal } = await open();
    const statuses = [
      "failed",
      "waiting",
      "completed",
      "paused",
      "queued",
      "cancelled",
      "sleeping",
      "running",
    ] as const;
    await journal.append(statuses.map((status, index) => createRun(index, { status })));
    const unfinished = await journal.unfinishedRuns();
    expect(unfinished.map(({ status }) => status)).toEqual([
      "waiting",
      "paused",
      "queued",
      "sleeping",
      "running",
    ]);
  });

  test("history comes in order, from after a row, as many as asked for", async () => {
    const { journal } = await open();
    await journal.append([
      createRun(1),
      ...Array.from({ length: 12 }, (_none, index) => event(index + 1)),
      event(1, { runId: "other" }),
    ]);
    const seqs = async (after: number, limit: number) =>
      (await journal.history(runId(1), { after, limit })).map(({ seq }) => seq);
    expect(await seqs(0, 5)).toEqual([1, 2, 3, 4, 5]);
    expect(await seqs(10, 5)).toEqual([11, 12]);
    expect(await seqs(12, 5)).toEqual([]);
    expect(await journal.history(runId(1), { after: 2, limit: 1 })).toEqual([anEvent(3)]);
  });

  test("an inbox holds what nobody has taken, oldest first", async () => {
    const { journal } = await open();
    await journal.append(["1", "2", "3"].map((id) => ({ kind: "create-signal", signal: aSignal(id) })));
    await journal.append([{ kind: "create-signal", signal: aSignal("4", { runId: "other" }) }]);
    await journal.append([{ kind: "take-signal", signalId: "2", bySeq: 9 }]);
    expect(await journal.inbox(runId(1))).toEqual([aSignal("1"), aSignal("3")]);
  });

  test("a signal's key holds within its run only", async () => {
    const { journal } = await open();
    const signal = aSignal("1", { idempotencyKey: "k" });
    await journal.append([{ kind: "create-signal", signal }]);
    await journal.append([{ kind: "create-signal", signal: { ...signal, id: "2", runId: "other" } }]);
    await expect(journal.append([{ kind: "create-signal", signal: { ...signal, id: "3" } }])).rejects.toThrow(
      /UNIQUE constraint failed/,
    );
    expect(await journal.signalByIdempotencyKey(runId(1), "k")).toEqual(signal);
    expect(await journal.signalByIdempotencyKey(runId(1), "other")).toBeUndefined();
  });
});

describe("indexes", () => {
  /** The plans of every statement that `use` has the journal run. */
  async function plansOf(use: (journal: SqliteJournal) => Promise<unknown>): Promise<string[]> {
    const { connection } = await open();
    const statements: { sql: string; parameters: readonly unknown[] }[] = [];
    await use(new SqliteJournal(watched(connection, statements), clearCodec, async () => {}));
    expect(statements.length).toBeGreaterThan(0);
    return await connection.read((on) =>
      statements.flatMap(({ sql, parameters }) =>
        on
          .all<{ detail: string }>(`EXPLAIN QUERY PLAN ${sql}`, parameters as string[])
          .map(({ detail }) => detail),
      ),
    );
  }

  test.each<[string, (journal: SqliteJournal) => Promise<unknown>]>([
    ["the latest state of a run", (journal) => journal.run("x")],
    ["a start with an idempotency key", (journal) => journal.runByIdempotencyKey("x")],
    [
      "appending a step's result",
      (journal) =>
        journal.append([event(1), { kind: "patch-run", runId: "x", patch: { status: "running" } }]),
    ],
    ["taking a signal", (journal) => journal.append([{ kind: "take-signal", signalId: "x", bySeq: 1 }])],
    ["the runs to take up", (journal) => journal.unfinishedRuns()],
    ["runs by status", (journal) => journal.runs({ status: "waiting", limit: 5 })],
    ["runs by agent", (journal) => journal.runs({ agent: "x", limit: 5 })],
    ["runs by status and agent", (journal) => journal.runs({ agent: "x", status: "waiting", limit: 5 })],
    [
      "a page of runs by status and agent",
      (journal) => journal.runs({ agent: "x", status: "waiting", before: "x", limit: 5 }),
    ],
    ["a run's history", (journal) => journal.history("x", { after: 3, limit: 5 })],
    ["a run's inbox", (journal) => journal.inbox("x")],
    ["a signal with an idempotency key", (journal) => journal.signalByIdempotencyKey("x", "y")],
  ])("%s is found by an index", async (_what, use) => {
    const plans = await plansOf(use);
    expect(plans.filter((plan) => plan.includes("SCAN"))).toEqual([]);
  });

  test.each([
    { limit: 5 },
    { limit: 5, status: "waiting" as const },
    { limit: 5, agent: "x" },
    { limit: 5, agent: "x", status: "waiting" as const, before: "x" },
  ])("the list %j comes out of its index in order, so that a page costs a page", async (filter) => {
    const plans = await plansOf((journal) => journal.runs(filter));
    expect(plans.filter((plan) => plan.includes("TEMP B-TREE"))).toEqual([]);
    expect(plans[0]).toMatch(/USING (COVERING )?INDEX/);
  });
});

describe("encryption", () => {
  const secret = "correct-horse-battery-staple";

  async function writeSecrets(journal: SqliteJournal): Promise<void> {
    const error = { name: "Error", message: secret };
    await journal.append([
      createRun(1, { input: { secret }, output: [secret], error, idempotencyKey: "k", fingerprint: secret }),
      event(1, { data: secret }),
      { kind: "create-signal", signal: aSignal("1", { payload: { secret } }) },
    ]);
    await journal.append([{ kind: "patch-run", runId: runId(1), patch: { output: secret, error } }]);
  }

  async function readSecrets(journal: SqliteJournal): Promise<unknown[]> {
    const run = await journal.run(runId(1));
    const [row] = await journal.history(runId(1), { after: 0, limit: 1 });
    const [signal] = await journal.inbox(runId(1));
    return [run?.input, run?.output, run?.error?.message, run?.fingerprint, row?.data, signal?.payload];
  }

  const asRead = [{ secret }, secret, secret, secret, secret, { secret }];

  function bytesOf(path: string): Buffer {
    return Buffer.concat([path, `${path}-wal`].map((part) => readFileSync(part, { flag: "a+" })));
  }

  test("nothing of a value is readable in the file or its WAL, open or closed", async () => {
    const path = temporaryPath();
    const connection = connect(path);
    await migrate(connection);
    const journal = new SqliteJournal(connection, sealingCodec("1", randomBytes(32)), async () => {});
    await writeSecrets(journal);
    expect(await readSecrets(journal)).toEqual(asRead);
    // The file must not be opened by this process while SQLite has it, so another one looks.
    const look = (): string =>
      execFileSync(
        "sh",
        ["-c", `cat "${path}" "${path}-wal" 2>/dev/null | grep -a -c "${secret.slice(0, 12)}" || true`],
        { encoding: "utf8" },
      ).trim();
    expect(look()).toBe("0");
    await connection.close();
    expect(bytesOf(path).includes(secret)).toBe(false);
    expect(bytesOf(path).includes("digest")).toBe(true);
  });

  test("clear rows stay readable after a key was set, and new ones beside them are sealed", async () => {
    const { connection } = await open();
    const clear = new SqliteJournal(connection, clearCodec, async () => {});
    await writeSecrets(clear);
    const sealed = new SqliteJournal(connection, sealingCodec("1", randomBytes(32)), async () => {});
    expect(await readSecrets(sealed)).toEqual(asRead);
    await sealed.append([event(2), { kind: "patch-run", runId: runId(1), patch: { output: "new" } }]);
    expect(await sealed.run(runId(1))).toMatchObject({ input: { secret }, output: "new" });
    await expect(clear.run(runId(1))).rejects.toThrow(/HOLDFAST_MASTER_KEY is not set/);
  });

  test("sealed rows without a key give an error that says what is missing", async () => {
    const { connection, journal } = await open();
    await writeSecrets(journal);
    const clear = new SqliteJournal(connection, clearCodec, async () => {});
    await expect(clear.run(runId(1))).rejects.toThrow(
      /sealed with key "1", and HOLDFAST_MASTER_KEY is not set/,
    );
    await expect(clear.history(runId(1), { after: 0, limit: 5 })).rejects.toThrow(/HOLDFAST_MASTER_KEY/);
    await expect(clear.inbox(runId(1))).rejects.toThrow(/HOLDFAST_MASTER_KEY/);
  });

  test("a sealed value that was moved to another row or column does not open", async () => {
    const { connection, journal } = await open();
    await journal.append([
      createRun(1, { output: "mine" }),
      createRun(2, { output: "yours" }),
      event(1),
      event(2),
    ]);
    await connection.write((on) => {
      on.run("UPDATE runs SET output = (SELECT output FROM runs WHERE id = ?) WHERE id = ?", [
        runId(2),
        runId(1),
      ]);
      on.run("UPDATE history SET data = (SELECT data FROM history WHERE seq = 2) WHERE seq = 1");
      on.run("UPDATE runs SET output = input WHERE id = ?", [runId(2)]);
    });
    await expect(journal.run(runId(1))).rejects.toThrow(/does not open/);
    await expect(journal.run(runId(2))).rejects.toThrow(/does not open/);
    await expect(journal.history(runId(1), { after: 0, limit: 1 })).rejects.toThrow(/does not open/);
  });
});

/** The connection, noting every statement that goes through it. */
function watched(
  connection: Connection,
  statements: { sql: string; parameters: readonly unknown[] }[],
): Connection {
  type Work<T> = Parameters<typeof connection.read<T>>[0];
  const watch =
    <T>(work: Work<T>): Work<T> =>
    (on) => {
      const note = (sql: string, parameters: readonly unknown[] = []): void =>
        void statements.push({ sql, parameters });
      return work({
        run: (sql, parameters) => (note(sql, parameters), on.run(sql, parameters)),
        get: (sql, parameters) => (note(sql, parameters), on.get(sql, parameters)),
        all: (sql, parameters) => (note(sql, parameters), on.all(sql, parameters)),
      });
    };
  return {
    ...connection,
    read: (work) => connection.read(watch(work)),
    write: (work) => connection.write(watch(work)),
  };
}
