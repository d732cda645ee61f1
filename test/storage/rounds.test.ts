import { setImmediate as turn } from "node:timers/promises";
import { array, assert, asyncProperty, constant, nat, oneof, record } from "fast-check";
import { beforeEach, expect, test } from "vitest";
import { Rounds } from "../../app/storage/rounds.ts";

/** The world as a gate sees it. Syncs, proofs and marks end when the test says so. */
class World {
  commits = 0;
  now = 1_000_000;
  readonly syncs: PromiseWithResolvers<{ readonly txid: number }>[] = [];
  readonly proofs: PromiseWithResolvers<void>[] = [];
  readonly marks: PromiseWithResolvers<void>[] = [];
  passed: () => void = () => {};
  /** What the next sync waits for. */
  gathered: Promise<void> = Promise.resolve();
  readonly rounds: Rounds;

  constructor(covered = 0) {
    this.rounds = new Rounds(
      {
        commits: () => this.commits,
        sync: () => pendingIn(this.syncs),
        proof: () => pendingIn(this.proofs),
        passed: () => this.passed(),
        mark: () => pendingIn(this.marks),
        gather: () => this.gathered,
        now: () => this.now,
      },
      { covered, lastTxid: null },
    );
  }

  commit(): void {
    this.commits += 1;
    this.rounds.committed();
  }
}

function pendingIn<T>(list: PromiseWithResolvers<T>[]): Promise<T> {
  const pending = Promise.withResolvers<T>();
  list.push(pending);
  return pending.promise;
}

type Outcome = "waiting" | "passed" | Error;

function watch(promise: Promise<void>): { outcome: Outcome } {
  const watched: { outcome: Outcome } = { outcome: "waiting" };
  promise.then(
    () => (watched.outcome = "passed"),
    (error: Error) => (watched.outcome = error),
  );
  return watched;
}

let world: World;

beforeEach(() => {
  world = new World();
});

test("what was restored needs a proof, and no sync", async () => {
  const pass = watch(world.rounds.pass());
  await turn();
  expect([world.syncs.length, world.proofs.length, pass.outcome]).toEqual([0, 1, "waiting"]);
  world.proofs[0]?.resolve();
  await turn();
  expect(pass.outcome).toBe("passed");
  expect(world.marks).toHaveLength(0);
});

test("a write passes after a sync, then a proof and the mark, both sent after its answer", async () => {
  world.commit();
  const pass = watch(world.rounds.pass());
  await turn();
  expect([world.syncs.length, world.proofs.length, world.marks.length]).toEqual([1, 0, 0]);
  world.syncs[0]?.resolve({ txid: 1 });
  await turn();
  expect([world.proofs.length, world.marks.length]).toEqual([1, 1]);
  world.proofs[0]?.resolve();
  await turn();
  expect([pass.outcome, world.rounds.isCovered]).toEqual(["waiting", false]);
  world.marks[0]?.resolve();
  await turn();
  expect([pass.outcome, world.rounds.isCovered, world.rounds.lastTxid]).toEqual(["passed", true, 1]);
});

test("a mark that is made before its proof lets nothing pass", async () => {
  world.commit();
  const pass = watch(world.rounds.pass());
  await turn();
  world.syncs[0]?.resolve({ txid: 1 });
  await turn();
  world.marks[0]?.resolve();
  await turn();
  expect([pass.outcome, world.rounds.isCovered]).toEqual(["waiting", false]);
  world.proofs[0]?.reject(new Error("fenced"));
  await turn();
  expect([pass.outcome, world.rounds.isCovered]).toEqual([new Error("fenced"), false]);
});

test("what a file held at its opening, and the store may not hold, waits for the first round", async () => {
  world = new World(-1);
  expect(world.rounds.isCovered).toBe(false);
  expect(world.rounds.oldestUndurableAt).toBe(world.now);
  const pass = watch(world.rounds.pass());
  await turn();
  expect([world.syncs.length, pass.outcome]).toEqual([1, "waiting"]);
  world.syncs[0]?.resolve({ txid: 1 });
  await turn();
  world.proofs[0]?.resolve();
  await turn();
  world.marks[0]?.resolve();
  await turn();
  expect([pass.outcome, world.rounds.isCovered]).toEqual(["passed", true]);
});

test("a commit that is made while a sync is under way is not covered by it", async () => {
  world.commit();
  const first = watch(world.rounds.pass());
  await turn();
  world.commit();
  const second = watch(world.rounds.pass());
  await settleRound(0);
  expect([first.outcome, second.outcome]).toEqual(["passed", "waiting"]);
  expect(world.rounds.isCovered).toBe(false);
  await settleRound(1);
  expect([second.outcome, world.rounds.isCovered]).toEqual(["passed", true]);
});

test("one sync serves all whose commits were made before it was sent, also those who ask while it is under way", async () => {
  world.commit();
  const first = watch(world.rounds.pass());
  await turn();
  const same = watch(world.rounds.pass());
  world.commit();
  const others = Array.from({ length: 100 }, () => watch(world.rounds.pass()));
  await settleRound(0);
  expect([first.outcome, same.outcome, others[0]?.outcome]).toEqual(["passed", "passed", "waiting"]);
  await settleRound(1);
  expect(world.syncs).toHaveLength(2);
  expect(first.outcome).toBe("passed");
  expect(others.every(({ outcome }) => outcome === "passed")).toBe(true);
});

test("the next sync is sent while the proof of the last one is on its way", async () => {
  world.commit();
  watch(world.rounds.pass());
  await turn();
  world.commit();
  watch(world.rounds.pass());
  world.syncs[0]?.resolve({ txid: 1 });
  await turn();
  expect([world.syncs.length, world.proofs.length]).toEqual([2, 1]);
});

test("while a sync is held back, whoever comes is served by it, and what a proof alone can give is not held back", async () => {
  const held = Promise.withResolvers<void>();
  world.commit();
  const first = watch(world.rounds.pass());
  await turn();
  world.gathered = held.promise;
  await settleRound(0);
  expect(first.outcome).toBe("passed");
  const read = watch(world.rounds.pass());
  await turn();
  world.proofs[1]?.resolve();
  world.commit();
  const second = watch(world.rounds.pass());
  world.commit();
  const third = watch(world.rounds.pass());
  await turn();
  expect([read.outcome, world.syncs.length]).toEqual(["passed", 1]);
  held.resolve();
  await settleRound(1, 2);
  expect([second.outcome, third.outcome, world.syncs.length]).toEqual(["passed", "passed", 2]);
  expect(world.rounds.isCovered).toBe(true);
});

test("a close ends the wait of those whose sync is held back", async () => {
  const held = Promise.withResolvers<void>();
  world.gathered = held.promise;
  world.commit();
  const pass = watch(world.rounds.pass());
  const why = new Error("fenced");
  world.rounds.close(why);
  await turn();
  expect(pass.outcome).toBe(why);
  held.resolve();
  await turn();
  expect(world.syncs).toHaveLength(0);
});

test("a proof that fails fails exactly its waiters", async () => {
  world.commit();
  const first = watch(world.rounds.pass());
  await turn();
  world.commit();
  const second = watch(world.rounds.pass());
  world.syncs[0]?.resolve({ txid: 1 });
  await turn();
  world.syncs[1]?.resolve({ txid: 2 });
  await turn();
  world.proofs[0]?.reject(new Error("the store is down"));
  world.proofs[1]?.resolve();
  await turn();
  world.marks[0]?.resolve();
  await turn();
  expect(first.outcome).toEqual(new Error("the store is down"));
  expect([second.outcome, world.rounds.isCovered]).toEqual(["passed", true]);
});

test("a sync that fails fails all who wait, and the next one is tried", async () => {
  world.commit();
  const first = watch(world.rounds.pass());
  const second = watch(world.rounds.pass());
  await turn();
  world.syncs[0]?.reject(new Error("no answer"));
  await turn();
  expect([first.outcome, second.outcome]).toEqual([new Error("no answer"), new Error("no answer")]);
  expect(world.rounds.lastError).toBe("no answer");
  const third = watch(world.rounds.pass());
  await settleRound(1, 0);
  expect([third.outcome, world.rounds.lastError]).toEqual(["passed", null]);
});

test("a round of which no witness can be left acknowledges nothing, and the next one is tried", async () => {
  world.passed = () => {
    throw new Error("the disk is full");
  };
  world.commit();
  const first = watch(world.rounds.pass());
  await settleRound(0);
  expect([first.outcome, world.rounds.isCovered]).toEqual([new Error("the disk is full"), false]);
  world.passed = () => {};
  const again = watch(world.rounds.pass());
  await settleRound(1);
  expect([again.outcome, world.rounds.isCovered]).toEqual(["passed", true]);
});

test("the epoch is marked once, before anything passes, however many rounds wait for it", async () => {
  const passes: { outcome: Outcome }[] = [];
  for (let round = 0; round < 3; round += 1) {
    world.commit();
    passes.push(watch(world.rounds.pass()));
    await turn();
    world.syncs[round]?.resolve({ txid: round + 1 });
    await turn();
    world.proofs[round]?.resolve();
    await turn();
  }
  expect(world.marks).toHaveLength(1);
  expect(passes.map(({ outcome }) => outcome)).toEqual(["waiting", "waiting", "waiting"]);
  world.marks[0]?.resolve();
  await turn();
  expect(passes.map(({ outcome }) => outcome)).toEqual(["passed", "passed", "passed"]);
  world.commit();
  const later = watch(world.rounds.pass());
  await settleRound(3);
  expect([later.outcome, world.marks.length]).toEqual(["passed", 1]);
});

test("a mark that fails fails all who waited for it, and is tried again by one round only", async () => {
  const passes: { outcome: Outcome }[] = [];
  for (let round = 0; round < 2; round += 1) {
    world.commit();
    passes.push(watch(world.rounds.pass()));
    await turn();
    world.syncs[round]?.resolve({ txid: round + 1 });
    await turn();
  }
  world.proofs[0]?.resolve();
  world.proofs[1]?.resolve();
  await turn();
  world.marks[0]?.reject(new Error("no answer"));
  await turn();
  expect(passes.map(({ outcome }) => outcome)).toEqual([new Error("no answer"), new Error("no answer")]);
  expect(world.rounds.isCovered).toBe(false);
  const again = watch(world.rounds.pass());
  await settleRound(2);
  expect([again.outcome, world.marks.length]).toEqual(["waiting", 2]);
  world.marks[1]?.resolve();
  await turn();
  expect(again.outcome).toBe("passed");
});

test("a close fails every waiter at once: queued, in its sync, in its proof and in its mark", async () => {
  const passes: { outcome: Outcome }[] = [];
  const ask = (): void => {
    world.commit();
    passes.push(watch(world.rounds.pass()));
  };
  ask();
  await turn();
  world.syncs[0]?.resolve({ txid: 1 });
  await turn();
  world.proofs[0]?.resolve();
  ask();
  await turn();
  world.syncs[1]?.resolve({ txid: 2 });
  ask();
  await turn();
  ask();
  expect([world.marks.length, world.proofs.length, world.syncs.length]).toEqual([1, 2, 3]);
  const why = new Error("fenced");
  world.rounds.close(why);
  await turn();
  expect(passes.map(({ outcome }) => outcome)).toEqual([why, why, why, why]);
});

test("nothing passes after a close, not what was under way either", async () => {
  world.commit();
  const inProof = watch(world.rounds.pass());
  await turn();
  world.syncs[0]?.resolve({ txid: 1 });
  await turn();
  world.commit();
  const inSync = watch(world.rounds.pass());
  const why = new Error("released");
  world.rounds.close(why);
  world.proofs[0]?.resolve();
  world.syncs[1]?.resolve({ txid: 2 });
  await turn();
  world.proofs[1]?.resolve();
  await turn();
  expect([inProof.outcome, inSync.outcome]).toEqual([why, why]);
  expect([world.rounds.lastTxid, world.rounds.isCovered]).toEqual([null, false]);
  await expect(world.rounds.pass()).rejects.toBe(why);
  await expect(world.rounds.round()).rejects.toBe(why);
});

test("nothing is marked after a close, when the sync that was under way answers", async () => {
  world.commit();
  watch(world.rounds.pass());
  await turn();
  world.rounds.close(new Error("released"));
  world.syncs[0]?.resolve({ txid: 1 });
  await turn();
  expect([world.marks.length, world.proofs.length]).toEqual([0, 0]);
});

test("a read whose proof is under way at a close does not pass", async () => {
  const read = watch(world.rounds.pass());
  const why = new Error("fenced");
  await turn();
  world.rounds.close(why);
  world.proofs[0]?.resolve();
  await turn();
  expect(read.outcome).toBe(why);
});

const moves = array(
  oneof(
    { weight: 5, arbitrary: record({ kind: constant("commit" as const), ms: nat(120) }) },
    { weight: 3, arbitrary: record({ kind: constant("ask" as const), ms: nat(50) }) },
    { weight: 3, arbitrary: record({ kind: constant("sync" as const), ms: nat(3_000) }) },
    { weight: 3, arbitrary: record({ kind: constant("proof" as const), ms: nat(3_000) }) },
    { weight: 1, arbitrary: record({ kind: constant("fail" as const), ms: nat(100) }) },
  ),
  { maxLength: 60 },
);

test("the lag is that of the oldest write that no passed round covers, to 100 ms, in whatever order things happen", async () => {
  await assert(
    asyncProperty(moves, async (made) => {
      world = new World();
      /** When each commit was made, and how many of them each sync, and then each proof, was sent after. */
      const madeAt: number[] = [];
      const syncSaw: number[] = [];
      const proofSaw: number[] = [];
      let [covered, syncsEnded, proofsEnded] = [0, 0, 0];
      for (const { kind, ms } of made) {
        world.now += ms;
        if (kind === "commit") {
          madeAt.push(world.now);
          world.commit();
        }
        if (kind === "ask") watch(world.rounds.pass());
        if (kind === "sync" && syncsEnded < world.syncs.length) {
          world.syncs[syncsEnded]?.resolve({ txid: 1 });
          proofSaw.push(syncSaw[syncsEnded++] ?? 0);
        }
        if (kind === "fail" && syncsEnded < world.syncs.length)
          world.syncs[syncsEnded++]?.reject(new Error("no answer"));
        await turn();
        // A read of what is covered asks for a proof without a sync; it covers nothing new.
        while (proofSaw.length < world.proofs.length) proofSaw.push(0);
        if (kind === "proof" && proofsEnded < world.proofs.length) {
          world.proofs[proofsEnded]?.resolve();
          covered = Math.max(covered, proofSaw[proofsEnded++] ?? 0);
          await turn();
        }
        for (const mark of world.marks) mark.resolve();
        await turn();
        while (syncSaw.length < world.syncs.length) syncSaw.push(madeAt.length);
        expect(lagIsRight(world.rounds.oldestUndurableAt, madeAt[covered])).toBe(true);
      }
      world.rounds.close(new Error("over"));
    }),
    { numRuns: 1_000 },
  );
});

function lagIsRight(shown: number | null, oldest: number | undefined): boolean {
  if (shown === null || oldest === undefined) return shown === null && oldest === undefined;
  return shown <= oldest && shown > oldest - 100;
}

test("a lag of many writes over hours takes bounded memory and still shows the oldest", async () => {
  for (let write = 0; write < 20_000; write += 1) {
    world.now += 1_000;
    world.commit();
  }
  expect(world.rounds.oldestUndurableAt).toBe(1_001_000);
  const pass = watch(world.rounds.pass());
  await turn();
  world.now += 1_000;
  world.commit();
  await settleRound(0);
  expect(pass.outcome).toBe("passed");
  expect(world.rounds.oldestUndurableAt).not.toBe(null);
  watch(world.rounds.pass());
  await settleRound(1);
  expect(world.rounds.oldestUndurableAt).toBe(null);
});

/** Lets the round of the given sync pass; the mark is made if it is due. */
async function settleRound(sync: number, proof = sync): Promise<void> {
  await turn();
  world.syncs[sync]?.resolve({ txid: sync + 1 });
  await turn();
  world.proofs[proof]?.resolve();
  await turn();
  if (world.marks.length === 1) world.marks[0]?.resolve();
  await turn();
}
