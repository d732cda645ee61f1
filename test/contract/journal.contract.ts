import { describe, expect, test } from "vitest";
import type { HistoryEvent, Journal, RunRecord, SignalRecord, Write } from "../../app/engine/journal.ts";

/** An empty journal, and a table of the user's beside it. */
export interface JournalUnderTest {
  readonly journal: Journal;
  /** Writes to the user's table inside of `transaction`. */
  readonly set: (tx: unknown, key: string, value: number) => Promise<void>;
  readonly get: (key: string) => Promise<number | undefined>;
  /** What `durable` waits for; it rejects once `store.error` is set. */
  readonly store: { error: Error | null; readonly asked: number };
}

/** What the engine relies on in every Journal. */
export function journalContract(kind: string, open: () => Promise<JournalUnderTest>): void {
  describe(`journal: ${kind}`, () => {
    test("a run, its history and its inbox come back as they were written", async () => {
      const { journal } = await open();
      const run = aRun("r1", { input: { text: "grüße", list: [1, null] }, idempotencyKey: "key" });
      const signal = aSignal("s1", { payload: { yes: true } });
      const event = anEvent(1, { data: { deep: [{ a: 1 }] } });
      await journal.append([create(run), row(event), { kind: "create-signal", signal }]);
      expect(await journal.run("r1")).toEqual({ ...run, updatedAt: event.at });
      expect(await journal.history("r1", { after: 0, limit: 10 })).toEqual([event]);
      expect(await journal.inbox("r1")).toEqual([signal]);
      expect(await journal.runByIdempotencyKey("key")).toEqual(run);
      expect(await journal.run("none")).toBeUndefined();
      expect(await journal.lastSeq("r1")).toBe(1);
      expect(await journal.lastSeq("none")).toBe(0);
    });

    test("undefined is kept apart from null", async () => {
      const { journal } = await open();
      await journal.append([
        create(aRun("r1", { input: undefined, output: null })),
        row(anEvent(1, { data: undefined })),
        row(anEvent(2, { data: null })),
      ]);
      const run = await journal.run("r1");
      expect([run?.input, run?.output, run?.state]).toStrictEqual([undefined, null, undefined]);
      const rows = await journal.history("r1", { after: 0, limit: 10 });
      expect(rows.map(({ data }) => data)).toStrictEqual([undefined, null]);
    });

    test("what was read may be changed without changing what was written", async () => {
      const { journal } = await open();
      const data = { list: [1] };
      await journal.append([create(aRun("r1")), row(anEvent(1, { data }))]);
      data.list.push(2);
      const [first] = await journal.history("r1", { after: 0, limit: 1 });
      (first as { data: { list: number[] } }).data.list.push(3);
      const [again] = await journal.history("r1", { after: 0, limit: 1 });
      expect(again?.data).toEqual({ list: [1] });
    });

    test("an append is all or nothing, and what is refused refuses nobody else of its turn", async () => {
      const { journal } = await open();
      await journal.append([create(aRun("r1")), row(anEvent(1))]);
      const [refused, taken] = await Promise.allSettled([
        journal.append([row(anEvent(2)), row(anEvent(1))]),
        journal.append([create(aRun("r2"))]),
      ]);
      expect([refused?.status, taken?.status]).toEqual(["rejected", "fulfilled"]);
      expect(await journal.lastSeq("r1")).toBe(1);
      expect(await journal.run("r2")).toBeDefined();
    });

    test("an idempotency key belongs to one run, and within a run to one signal", async () => {
      const { journal } = await open();
      await journal.append([create(aRun("r1", { idempotencyKey: "k" })), create(aRun("r2"))]);
      await expect(journal.append([create(aRun("r3", { idempotencyKey: "k" }))])).rejects.toThrow(/UNIQUE/);
      const keyed = (id: string, runId: string): Write => ({
        kind: "create-signal",
        signal: aSignal(id, { runId, idempotencyKey: "k" }),
      });
      await journal.append([keyed("s1", "r1"), keyed("s2", "r2")]);
      await expect(journal.append([keyed("s3", "r1")])).rejects.toThrow(/UNIQUE/);
      expect((await journal.signalByIdempotencyKey("r2", "k"))?.id).toBe("s2");
      expect(await journal.signalByIdempotencyKey("r2", "other")).toBeUndefined();
    });

    test("appends are committed in call order, and a read sees what was committed before it", async () => {
      const { journal } = await open();
      const done: number[] = [];
      await journal.append([create(aRun("r1"))]);
      await Promise.all(
        [1, 2, 3].map(async (seq) => {
          await journal.append([row(anEvent(seq)), patch({ state: seq })]);
          done.push(seq);
        }),
      );
      expect(done).toEqual([1, 2, 3]);
      expect((await journal.run("r1"))?.state).toBe(3);
    });

    test("writes of one append take effect in their order, however many rows there are", async () => {
      const { journal } = await open();
      const seqs = Array.from({ length: 23 }, (_, i) => i + 1);
      await journal.append([
        create(aRun("r1")),
        patch({ status: "running" }),
        ...seqs.map((seq) => row(anEvent(seq, { data: `row ${seq}` }))),
        { kind: "create-signal", signal: aSignal("s1") },
        { kind: "take-signal", signalId: "s1", bySeq: 2 },
        create(aRun("r2")),
        { kind: "create-signal", signal: aSignal("s2", { runId: "r2" }) },
        row(anEvent(1, { runId: "r2" })),
        { kind: "delete-run", runId: "r2" },
      ]);
      const rows = await journal.history("r1", { after: 0, limit: 100 });
      expect(rows.map(({ data }) => data)).toEqual(seqs.map((seq) => `row ${seq}`));
      expect((await journal.run("r1"))?.status).toBe("running");
      expect(await journal.inbox("r1")).toEqual([]);
      expect(await journal.run("r2")).toBeUndefined();
      expect(await journal.lastSeq("r2")).toBe(0);
      expect(await journal.inbox("r2")).toEqual([]);
    });

    test("history is read in pages", async () => {
      const { journal } = await open();
      await journal.append([create(aRun("r1")), ...[1, 2, 3].map((seq) => row(anEvent(seq)))]);
      const page = await journal.history("r1", { after: 1, limit: 1 });
      expect(page.map(({ seq }) => seq)).toEqual([2]);
    });

    test("a signal that was taken is in the inbox no more, the oldest comes first", async () => {
      const { journal } = await open();
      await journal.append([
        create(aRun("r1")),
        ...["s2", "s1", "s3"].map((id): Write => ({ kind: "create-signal", signal: aSignal(id) })),
      ]);
      await journal.append([row(anEvent(1)), { kind: "take-signal", signalId: "s1", bySeq: 1 }]);
      expect((await journal.inbox("r1")).map(({ id }) => id)).toEqual(["s2", "s3"]);
    });

    test("a patch changes only what it names; output, error and status change together with a row", async () => {
      const { journal } = await open();
      await journal.append([create(aRun("r1", { state: "s", wakeAt: 7 }))]);
      await journal.append([row(anEvent(1)), patch({ status: "completed", output: { a: 1 }, endedAt: 9 })]);
      expect(await journal.run("r1")).toMatchObject({
        state: "s",
        wakeAt: 7,
        status: "completed",
        endedAt: 9,
      });
      await journal.append([patch({ status: "running", output: undefined, endedAt: null, wakeAt: null })]);
      expect(await journal.run("r1")).toMatchObject({ status: "running", endedAt: null, wakeAt: null });
      expect((await journal.run("r1"))?.output).toBeUndefined();
    });

    test("what has not ended is listed, with what may have missed to hear of something", async () => {
      const { journal } = await open();
      await journal.append([
        create(aRun("r1", { status: "waiting", wakeAt: 5 })),
        create(aRun("r2", { status: "waiting" })),
        create(aRun("r3", { status: "waiting" })),
        create(aRun("r4", { status: "completed", parent: "r2" })),
        create(aRun("r5", { status: "running", parent: "r3" })),
        create(aRun("r6", { status: "paused" })),
        { kind: "create-signal", signal: aSignal("s1") },
      ]);
      expect((await journal.unfinishedRuns()).map(({ id }) => id)).toEqual(["r1", "r2", "r3", "r5", "r6"]);
      expect((await journal.unfinishedRuns())[0]).toEqual({
        id: "r1",
        agent: "agent",
        status: "waiting",
        wakeAt: 5,
      });
      expect([...(await journal.runsToLookAt())].toSorted()).toEqual(["r1", "r2"]);
      expect((await journal.children("r3")).map(({ id }) => id)).toEqual(["r5"]);
      expect(await journal.countRunsByStatus()).toEqual({ waiting: 3, completed: 1, running: 1, paused: 1 });
    });

    test("what a run that has ended waited for is an orphan, unless it was started anew since", async () => {
      const { journal } = await open();
      await journal.append([
        create(aRun("r1", { status: "cancelled", endedAt: 2_000 })),
        create(aRun("r2", { parent: "r1", startedAt: 1_500 })),
        create(aRun("r3", { parent: "r1", status: "paused" })),
        create(aRun("r4", { parent: "r1", startedAt: 2_500 })),
        create(aRun("r5", { parent: "r1", status: "completed", startedAt: 1_500 })),
        create(aRun("r6", { parent: "r2", startedAt: 1_500 })),
      ]);
      expect([...(await journal.orphans())].toSorted()).toEqual(["r2", "r3"]);
    });

    test("runs are listed newest first, by agent and status, from a run on", async () => {
      const { journal } = await open();
      await journal.append([
        create(aRun("r1", { agent: "a" })),
        create(aRun("r2", { agent: "b" })),
        create(aRun("r3", { agent: "a", status: "failed" })),
      ]);
      const ids = async (filter: Parameters<Journal["runs"]>[0]) =>
        (await journal.runs(filter)).map(({ id }) => id);
      expect(await ids({ limit: 2 })).toEqual(["r3", "r2"]);
      expect(await ids({ limit: 9, before: "r3" })).toEqual(["r2", "r1"]);
      expect(await ids({ limit: 9, agent: "a" })).toEqual(["r3", "r1"]);
      expect(await ids({ limit: 9, status: "failed" })).toEqual(["r3"]);
    });

    test("a run is deleted with its history and inbox, and nothing of another run", async () => {
      const { journal } = await open();
      await journal.append([
        create(aRun("r1")),
        create(aRun("r2")),
        row(anEvent(1)),
        row(anEvent(1, { runId: "r2" })),
        { kind: "create-signal", signal: aSignal("s1") },
      ]);
      await journal.append([{ kind: "delete-run", runId: "r1" }]);
      expect(await journal.run("r1")).toBeUndefined();
      expect(await journal.lastSeq("r1")).toBe(0);
      expect(await journal.inbox("r1")).toEqual([]);
      expect(await journal.lastSeq("r2")).toBe(1);
    });

    test("a transaction commits the user's rows and the journal's together", async () => {
      const { journal, set, get } = await open();
      await journal.append([create(aRun("r1"))]);
      await journal.transaction(async (tx) => {
        await set(tx, "k", 1);
        return [row(anEvent(1))];
      });
      expect(await get("k")).toBe(1);
      expect(await journal.lastSeq("r1")).toBe(1);
    });

    test("a transaction that throws, or whose row is refused, leaves nothing behind", async () => {
      const { journal, set, get } = await open();
      await journal.append([create(aRun("r1")), row(anEvent(1))]);
      const failing = journal.transaction(async (tx) => {
        await set(tx, "k", 1);
        throw new Error("of the user's own");
      });
      await expect(failing).rejects.toThrow("of the user's own");
      const refused = journal.transaction(async (tx) => {
        await set(tx, "k", 2);
        return [row(anEvent(1))];
      });
      await expect(refused).rejects.toThrow(/history/);
      expect(await get("k")).toBeUndefined();
      expect(await journal.lastSeq("r1")).toBe(1);
    });

    test("a transaction comes after the appends before it and before those after it", async () => {
      const { journal, set } = await open();
      await journal.append([create(aRun("r1"))]);
      const order: string[] = [];
      await Promise.all([
        journal.append([row(anEvent(1))]).then(() => order.push("before")),
        journal
          .transaction(async (tx) => {
            await set(tx, "k", 1);
            return [row(anEvent(2))];
          })
          .then(() => order.push("transaction")),
      ]);
      await journal.append([row(anEvent(3))]);
      expect(order).toEqual(["before", "transaction"]);
      expect(await journal.lastSeq("r1")).toBe(3);
    });

    test("durable asks the store once everything appended before it is committed, and fails as it does", async () => {
      const { journal, store } = await open();
      const appended = journal.append([create(aRun("r1"))]);
      await journal.durable();
      expect(store.asked).toBe(1);
      expect(await journal.run("r1")).toBeDefined();
      await appended;
      store.error = new Error("The store cannot be reached.");
      await expect(journal.durable()).rejects.toThrow("The store cannot be reached.");
    });
  });
}

function aRun(id: string, run: Partial<RunRecord> = {}): RunRecord {
  return {
    id,
    agent: "agent",
    version: null,
    status: "running",
    durability: "replicated",
    input: null,
    output: undefined,
    error: null,
    state: undefined,
    parent: null,
    idempotencyKey: null,
    fingerprint: null,
    createdAt: 1_000,
    startedAt: null,
    endedAt: null,
    wakeAt: null,
    ...run,
  };
}

function anEvent(seq: number, event: Partial<HistoryEvent> = {}): HistoryEvent {
  const place = { path: "", name: "step", occurrence: 0, attempt: 1 };
  return { runId: "r1", seq, at: 2_000 + seq, kind: "step.completed", ...place, data: null, ...event };
}

function aSignal(id: string, signal: Partial<SignalRecord> = {}): SignalRecord {
  const open = { idempotencyKey: null, payload: null, takenBySeq: null };
  return { id, runId: "r1", name: "go", at: 3_000, ...open, ...signal };
}

function create(run: RunRecord): Write {
  return { kind: "create-run", run };
}

function row(event: HistoryEvent): Write {
  return { kind: "event", event };
}

function patch(changes: Extract<Write, { kind: "patch-run" }>["patch"]): Write {
  return { kind: "patch-run", runId: "r1", patch: changes };
}
