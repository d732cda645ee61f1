import { hasEnded, type HistoryEvent, type Journal, type Write } from "../../app/engine/journal.ts";
import type { Planted } from "./life.ts";

/** Of the occasions for it, a bug takes one in five. */
const often = 0.2;

/** What a journal, a clock or ids may do wrong, by what the simulation must notice. */
export const plantedBugs: Readonly<Record<string, Planted>> = {
  "a journal that forgets a row": {
    journal: (journal, random) =>
      changed(journal, {
        append: (writes) => {
          const last = writes.findLastIndex(({ kind }) => kind === "event");
          return journal.append(
            random.chance(often) ? writes.filter((_write, index) => index !== last) : writes,
          );
        },
      }),
  },
  "a journal that commits an append and says that it failed": {
    journal: (journal, random) =>
      changed(journal, {
        append: async (writes) => {
          await journal.append(writes);
          if (writes.length > 0 && random.chance(often)) throw new Error("the disk is full");
        },
      }),
  },
  "a journal that reorders two appends": {
    journal: (journal, random) => {
      let late: readonly Write[] | null = null;
      return changed(journal, {
        append: async (writes) => {
          if (late === null && random.chance(often)) {
            late = writes;
            return;
          }
          await journal.append(writes);
          if (late !== null) await journal.append(late);
          late = null;
        },
      });
    },
  },
  "a journal that splits an append in two commits": {
    journal: (journal) =>
      changed(journal, {
        append: async (writes) => {
          for (const write of writes) await journal.append([write]);
        },
      }),
  },
  "a journal that loses a signal's take": {
    journal: (journal) => withoutWrites(journal, (write) => write.kind === "take-signal"),
  },
  "a journal that loses a change of status": {
    journal: (journal, random) =>
      withoutWrites(journal, (write) => write.kind === "patch-run" && random.chance(often)),
  },
  "a journal that loses the child that a row tells of": {
    journal: (journal) =>
      withoutWrites(journal, (write) => write.kind === "create-run" && write.run.parent !== null),
  },
  "a journal that loses the run of an onFailure": {
    journal: (journal) =>
      withoutWrites(
        journal,
        (write) => write.kind === "create-run" && write.run.agent.endsWith("/onFailure"),
      ),
  },
  "a journal that loses a deletion": {
    journal: (journal) => withoutWrites(journal, (write) => write.kind === "delete-run"),
  },
  "a journal that says durable at once": {
    journal: (journal) => changed(journal, { durable: async () => {} }),
  },
  "a journal that commits a transaction apart from its row": {
    journal: (journal) =>
      changed(journal, {
        transaction: async (work) => {
          let writes: readonly Write[] = [];
          await journal.transaction(async (tx) => {
            writes = await work(tx);
            return [];
          });
          await journal.append(writes);
        },
      }),
  },
  "a journal that runs a transaction's work twice": {
    journal: (journal) =>
      changed(journal, {
        transaction: async (work) => {
          await journal.transaction(async (tx) => {
            await work(tx);
            return [];
          });
          await journal.transaction(work);
        },
      }),
  },
  "a journal that reads a run's history short of its last row": {
    journal: (journal, random) =>
      changed(journal, {
        history: async (runId, range) => {
          const rows = await journal.history(runId, range);
          return random.chance(often) ? rows.slice(0, -1) : rows;
        },
      }),
  },
  "a journal that gives a signal that was taken": {
    journal: (journal) => {
      const known = new Map<string, Awaited<ReturnType<Journal["inbox"]>>>();
      return changed(journal, {
        inbox: async (runId) => {
          const inbox = [...(known.get(runId) ?? []), ...(await journal.inbox(runId))];
          known.set(runId, inbox);
          return [...new Map(inbox.map((signal) => [signal.id, signal])).values()];
        },
      });
    },
  },
  "a journal that does not know a run that waits": {
    journal: (journal) =>
      changed(journal, {
        unfinishedRuns: async () =>
          (await journal.unfinishedRuns()).filter(({ status }) => status !== "sleeping"),
      }),
  },
  "a journal that does not know who may have missed something": {
    journal: (journal) => changed(journal, { runsToLookAt: async () => [] }),
  },
  "a journal that does not know whom an ended run has waited for": {
    journal: (journal) => changed(journal, { children: async () => [], orphans: async () => [] }),
  },
  "a journal that says too early that a child has ended": {
    journal: (journal, random) =>
      changed(journal, {
        run: async (id) => {
          const run = await journal.run(id);
          if (run === undefined || run.parent === null || hasEnded(run.status) || !random.chance(often))
            return run;
          return { ...run, status: "completed", output: "not yet" };
        },
      }),
  },
  "a journal that reads of a retry no more than where it goes on from": {
    journal: (journal) =>
      changed(journal, {
        history: async (runId, range) => (await journal.history(runId, range)).map(cutAtFailure),
      }),
  },
  "a clock that goes backwards": {
    clock: (clock, random) => ({
      now: () => clock.now() - (random.chance(often) ? 3 : 0),
      setTimer: (at, fire) => clock.setTimer(at, fire),
    }),
  },
  "a clock whose timers fire early": {
    clock: (clock) => ({
      now: () => clock.now(),
      setTimer: (at, fire) => clock.setTimer(at - 2, fire),
    }),
  },
  "a clock some of whose timers never fire": {
    clock: (clock, random) => ({
      now: () => clock.now(),
      setTimer: (at, fire) => (random.chance(often) ? () => {} : clock.setTimer(at, fire)),
    }),
  },
  "a clock whose timers cannot be cancelled": {
    clock: (clock) => ({
      now: () => clock.now(),
      setTimer: (at, fire) => {
        clock.setTimer(at, fire);
        return () => {};
      },
    }),
  },
  "ids that repeat": {
    newId: (newId, random) => {
      let last = newId();
      return () => (random.chance(often) ? last : (last = newId()));
    },
  },
};

/** A retry as it would be without regard to what went on beside the failure. */
function cutAtFailure(row: HistoryEvent): HistoryEvent {
  if (row.kind !== "run.retried") return row;
  const { failed, after } = row.data as { readonly failed: object | null; readonly after: number };
  return failed === null ? row : { ...row, data: { ...failed, fromSeq: after } };
}

function changed(journal: Journal, changes: Partial<Journal>): Journal {
  return new Proxy(journal, {
    get(target, method) {
      const value: unknown = Reflect.get(changes, method) ?? Reflect.get(target, method, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

function withoutWrites(journal: Journal, lost: (write: Write) => boolean): Journal {
  return changed(journal, { append: (writes) => journal.append(writes.filter((write) => !lost(write))) });
}
