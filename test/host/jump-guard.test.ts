import { beforeEach, expect, test } from "vitest";
import { GuardedClock } from "../../app/host/guarded-clock.ts";
import { JumpGuard } from "../../app/host/jump-guard.ts";
import { NotDurableError } from "../../app/storage/errors.ts";
import { SetClock } from "../fakes/clock.ts";

let wall: number;
let monotonic: number;
let proofs: PromiseWithResolvers<void>[];
let proved: number;
let guard: JumpGuard;

beforeEach(() => {
  [wall, monotonic, proofs, proved] = [1_000_000, 50, [], 0];
  guard = new JumpGuard(
    { wall: () => wall, monotonic: () => monotonic },
    () => {
      const proof = Promise.withResolvers<void>();
      proofs.push(proof);
      return proof.promise;
    },
    () => (proved += 1),
  );
});

async function turns(): Promise<void> {
  for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

function pass(ms: number): void {
  wall += ms;
  monotonic += ms;
}

test("while the clocks agree nobody waits, also after small corrections", () => {
  pass(3_600_000);
  wall += 900;
  expect([guard.check(), proofs.length]).toEqual([null, 0]);
});

test.each([
  ["on", 5_000],
  ["back", -5_000],
])("after a jump %s all wait for one proof, once", async (_, jumpMs) => {
  wall += jumpMs;
  const waiting = [guard.check(), guard.check()];
  expect([waiting[0] === waiting[1], proofs.length, proved]).toEqual([true, 1, 0]);
  proofs[0]?.resolve();
  await waiting[0];
  expect([guard.check(), proved]).toEqual([null, 1]);
});

test("a proof that fails is told, and asked for again", async () => {
  wall += 5_000;
  const waiting = guard.check();
  proofs[0]?.reject(new Error("the store is down"));
  await expect(waiting).rejects.toThrow(NotDurableError);
  expect([guard.check() === null, proofs.length]).toEqual([false, 2]);
});

test("a second jump while the first is proved needs a proof of its own", async () => {
  wall += 5_000;
  const first = guard.check();
  wall += 5_000;
  proofs[0]?.resolve();
  await first;
  expect([guard.check() === null, proofs.length]).toEqual([false, 2]);
});

test("a run's timer that is due after a jump fires when the host has proved itself, and not before", async () => {
  const inner = new SetClock();
  let proof: PromiseWithResolvers<void> | null = null;
  const clock = new GuardedClock(() => proof?.promise ?? null, inner);
  const fired: string[] = [];
  clock.setTimer(inner.now() + 1_000, () => fired.push("soon"));
  const cancel = clock.setTimer(inner.now() + 1_000, () => fired.push("cancelled"));
  proof = Promise.withResolvers<void>();
  await inner.advance(1_000, turns);
  expect(fired).toEqual([]);
  cancel();
  const { resolve } = proof;
  proof = null;
  resolve();
  await inner.advance(10, turns);
  expect(fired).toEqual(["soon"]);
});

test("a timer is not late by what the clock has jumped", async () => {
  const inner = new SetClock();
  const clock = new GuardedClock(() => null, inner);
  let fired = 0;
  clock.setTimer(inner.now() + 3_600_000, () => (fired += 1));
  inner.jump(4_000_000);
  clock.jumped();
  await turns();
  expect([fired, inner.pending]).toEqual([1, 0]);
});
