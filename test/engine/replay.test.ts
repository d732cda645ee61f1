import * as fc from "fast-check";
import { expect, test } from "vitest";
import { hasEnded, type HistoryEvent } from "../../app/engine/journal.ts";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";
import { interpret, maxAttempts, program, type Op } from "./program.ts";

const runs = Number(process.env["HOLDFAST_TEST_PROGRAMS"] ?? 120);
const seed = Number(process.env["HOLDFAST_TEST_SEED"] ?? Date.now() % 2 ** 31);

test("calls that end at the same moment are settled in the order of their rows, live as in a replay", async () => {
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => {
      const seen: string[] = [];
      const see = async (name: string, call: Promise<unknown>): Promise<void> => {
        await call;
        seen.push(name);
      };
      await Promise.all([
        see("first sleep", step.sleep("first sleep", 5)),
        see(
          "step",
          step.run("step", () => engine.clock.wait(5)),
        ),
        // The first row goes out alone; those behind it are committed together.
        see("signal", step.waitForSignal("signal", { signal: "never", timeout: 5 })),
        see("other signal", step.waitForSignal("other signal", { signal: "never", timeout: 5 })),
        see("other sleep", step.sleep("other sleep", 5)),
      ]);
      return seen;
    }),
  ]);
  const runId = await engine.start("agent");
  const { output } = await engine.finish(runId);
  const rows = await engine.history(runId);
  const outcomes = rows.filter(
    ({ kind }) => /completed|ended|timed_out/.test(kind) && kind !== "run.completed",
  );
  expect(output).toEqual(outcomes.map(({ name }) => name));
  await engine.reopen({ lostAfter: { runId, seq: rows.length - 1 } });
  expect((await engine.finish(runId)).output).toEqual(output);
});

test("a race has the same winner in every replay", async () => {
  const engine = await TestEngine.create([
    anyAgent(async ({ step }) => {
      const winner = await Promise.race([
        step.sleep("slow", 20).then(() => "slow"),
        step.run("fast", () => engine.clock.wait(10)).then(() => "fast"),
      ]);
      await step.sleep("rest", "1h");
      return winner;
    }),
  ]);
  const runId = await engine.start("agent");
  // The loser's row comes before the run's next crash: in a replay both outcomes are there from the start.
  await engine.advance(30);
  await engine.reopen();
  expect((await engine.finish(runId)).output).toBe("fast");
});

/** Signals that the world sends on its own time, and rows after which the process dies and loses what came later. */
const scenario = fc.record({
  ops: program,
  signals: fc.array(
    fc.record({ afterMs: fc.constantFrom(0, 5, 10, 1_000), name: fc.constantFrom("x", "y") }),
    { maxLength: 4 },
  ),
  crashes: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 3 }),
});

interface Scenario {
  readonly ops: readonly Op[];
  readonly signals: readonly { readonly afterMs: number; readonly name: string }[];
  readonly crashes: readonly number[];
}

test(
  `a run that crashes anywhere keeps its rows, runs no recorded step again, ends, and replays as it ran (seed ${seed})`,
  { timeout: 300_000 },
  async () => {
    await fc.assert(fc.asyncProperty(scenario, crashAndReplay), { seed, numRuns: runs });
  },
);

async function crashAndReplay({ ops, signals, crashes }: Scenario): Promise<void> {
  const attempts: string[] = [];
  const engine = await TestEngine.create([
    anyAgent(
      (context) =>
        interpret(ops, context, {
          clock: engine.clock,
          onAttempt: (key, attempt) => void attempts.push(`${key} ${attempt}`),
        }),
      { retry: { maxAttempts, delay: "1s", backoff: "fixed" } },
    ),
  ]);
  try {
    const { run } = await engine.engine.start({ agent: "agent", input: null });
    for (const signal of signals) await sendLater(engine, run.id, signal);
    const goOn = async (kept: readonly HistoryEvent[]) => {
      const ended = await engine.finish(run.id);
      const rows = await engine.history(run.id);
      expect(hasEnded(ended.status)).toBe(true);
      expectSound(rows);
      expect(rows.slice(0, kept.length)).toEqual(kept);
      expect(attempts.filter((attempt) => isRecorded(kept, run.id, attempt))).toEqual([]);
      return { ended, rows };
    };
    const loseAfter = async (seq: number, rows: readonly HistoryEvent[]) => {
      attempts.length = 0;
      await engine.reopen({ lostAfter: { runId: run.id, seq } });
      return await goOn(rows.slice(0, seq));
    };

    let { ended, rows } = await goOn([]);
    for (const share of crashes)
      ({ ended, rows } = await loseAfter(Math.floor(share * (rows.length - 1)), rows));
    // Of the last life only the end is lost: what follows is nothing but replay.
    const replayed = await loseAfter(rows.length - 1, rows);
    expect(attempts).toEqual([]);
    expect(replayed.ended.output).toEqual(ended.output);
    expect(replayed.ended.error).toEqual(ended.error);
    expect(engine.troubles).toEqual([]);
    expect(engine.timers).toBe(0);
  } finally {
    await engine.remove();
  }
}

async function sendLater(
  engine: TestEngine,
  runId: string,
  { afterMs, name }: { readonly afterMs: number; readonly name: string },
): Promise<void> {
  const send = async (): Promise<void> => {
    const run = await engine.get(runId);
    if (!hasEnded(run.status))
      await engine.engine.signal(runId, { name, payload: { afterMs } }).catch(() => {});
  };
  if (afterMs === 0) await send();
  else engine.clock.setTimer(engine.clock.now() + afterMs, () => void send());
}

/** What holds of every history: rows without gaps, one outcome a call, nothing after the end. */
function expectSound(rows: readonly HistoryEvent[]): void {
  expect(rows.map(({ seq }) => seq)).toEqual(rows.map((_row, index) => index + 1));
  expect(rows.filter(({ kind }) => kind === "run.started")).toHaveLength(1);
  expect(rows.findIndex(({ kind }) => kind === "run.completed" || kind === "run.failed")).toBe(
    rows.length - 1,
  );
  const outcomes = rows.filter(({ kind }) =>
    /^(step\.(completed|failed)|sleep\.ended|signal\.(received|timed_out))$/.test(kind),
  );
  const identities = outcomes.map(({ name, occurrence }) => `${name} ${occurrence}`);
  expect(identities).toEqual([...new Set(identities)]);
}

/** Attempts that history has already, as failed or as completed. */
function isRecorded(rows: readonly HistoryEvent[], runId: string, attempt: string): boolean {
  return rows.some(
    (row) =>
      row.kind.startsWith("step.") && `${runId}:${row.name}:${row.occurrence} ${row.attempt}` === attempt,
  );
}
