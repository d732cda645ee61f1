import { setImmediate as turn } from "node:timers/promises";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { gather, type BeforeSync } from "../../app/storage/gather.ts";

/** What a sync waits for, as it is known to be; its clock stands still unless the test moves it. */
let before: { -readonly [Name in keyof BeforeSync]: BeforeSync[Name] };
let now: number;
let came: number;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  [now, came] = [1_000_000, 0];
  before = { passing: null, activity: () => came, syncMs: 5, proofMs: 1, now: () => now };
});

afterEach(() => {
  vi.useRealTimers();
});

function watchGathering(): { ended: boolean } {
  const watched = { ended: false };
  void gather(before).then(() => (watched.ended = true));
  return watched;
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) await turn();
}

test("a sync waits for a proof on its way that takes little beside it", async () => {
  const passing = Promise.withResolvers<void>();
  before = { ...before, passing: passing.promise };
  const gathering = watchGathering();
  await turns(20);
  expect(gathering.ended).toBe(false);
  passing.resolve();
  await turns(5);
  expect(gathering.ended).toBe(true);
});

test("a sync does not wait for a proof that takes about as long as a sync", async () => {
  before = { ...before, passing: new Promise(() => {}), syncMs: 35, proofMs: 31 };
  const gathering = watchGathering();
  await turns(5);
  expect(gathering.ended).toBe(true);
});

test("a sync waits for a proof that hangs no longer than it would take itself, and never over 100 ms", async () => {
  for (const [syncMs, limitMs] of [
    [5, 5],
    [5_000, 100],
  ] as const) {
    before = { ...before, passing: new Promise(() => {}), syncMs };
    const gathering = watchGathering();
    vi.advanceTimersByTime(limitMs - 1);
    await turns(5);
    expect(gathering.ended).toBe(false);
    vi.advanceTimersByTime(1);
    await turns(5);
    expect(gathering.ended).toBe(true);
  }
});

test("a sync waits as long as others come, turn by turn", async () => {
  const gathering = watchGathering();
  for (let i = 0; i < 20; i += 1) {
    came += 1;
    await turns(2);
  }
  expect(gathering.ended).toBe(false);
  await turns(5);
  expect(gathering.ended).toBe(true);
});

test("however many come, a sync waits for them half its own time, and never over 100 ms", async () => {
  for (const [syncMs, limitMs] of [
    [10, 5],
    [5_000, 100],
  ] as const) {
    before = { ...before, syncMs };
    const gathering = watchGathering();
    const begunAt = now;
    while (!gathering.ended && now - begunAt < 1_000) {
      came += 1;
      now += 1;
      await turn();
    }
    expect(now - begunAt).toBeGreaterThanOrEqual(limitMs);
    expect(now - begunAt).toBeLessThan(limitMs + 5);
  }
});
