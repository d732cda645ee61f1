import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { systemClock } from "../../app/engine/clock.ts";

const now = Date.UTC(2026, 0, 1);
const yearMs = 365 * 24 * 3_600_000;

beforeEach(() => void vi.useFakeTimers({ now }));
afterEach(() => void vi.useRealTimers());

test("a timer a year ahead fires once, then", () => {
  const fired: number[] = [];
  systemClock.setTimer(now + yearMs, () => fired.push(Date.now()));
  vi.advanceTimersByTime(yearMs - 1);
  expect(fired).toEqual([]);
  vi.advanceTimersByTime(yearMs);
  expect(fired).toEqual([now + yearMs]);
});

test("a timer never fires early, although the timeout under it does", () => {
  const fired: number[] = [];
  systemClock.setTimer(now + 1_000, () => fired.push(Date.now()));
  vi.setSystemTime(now - 2);
  vi.advanceTimersByTime(1_000);
  expect(fired).toEqual([]);
  vi.advanceTimersByTime(2);
  expect(fired).toEqual([now + 1_000]);
});

test("a timer that is past due fires later, not within the call", () => {
  let fired = 0;
  systemClock.setTimer(now - 5, () => (fired += 1));
  expect(fired).toBe(0);
  vi.advanceTimersByTime(0);
  expect(fired).toBe(1);
});

test("a cancelled timer does not fire, however far ahead it was", () => {
  const cancel = systemClock.setTimer(now + yearMs, () => expect.unreachable());
  vi.advanceTimersByTime(yearMs / 2);
  cancel();
  vi.advanceTimersByTime(yearMs);
  expect(vi.getTimerCount()).toBe(0);
});
