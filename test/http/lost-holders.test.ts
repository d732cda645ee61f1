import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { LostHolders } from "../../app/http/lost-holders.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Hosts that are lost when a test says so, and how often each was watched. */
function watched() {
  const watches: { hostId: string; signal: AbortSignal; lose: () => void }[] = [];
  const holders = new LostHolders({
    lost: (hostId, signal) =>
      new Promise((resolve) => {
        watches.push({ hostId, signal, lose: resolve });
        signal.addEventListener("abort", () => resolve());
      }),
  });
  return { watches, holders };
}

test("an answer within a second costs no look at the store", async () => {
  const { watches, holders } = watched();
  const stop = holders.watch("host-2", () => {});
  await vi.advanceTimersByTimeAsync(900);
  stop();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(watches).toEqual([]);
});

test("all who wait for a host share one watch, and all are told of its loss", async () => {
  const { watches, holders } = watched();
  const told: string[] = [];
  holders.watch("host-2", () => told.push("first"));
  holders.watch("host-2", () => told.push("second"));
  holders.watch("host-3", () => told.push("other"));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(watches.map(({ hostId }) => hostId)).toEqual(["host-2", "host-3"]);
  watches[0]?.lose();
  await vi.advanceTimersByTimeAsync(0);
  expect(told).toEqual(["first", "second"]);
});

test("a watch ends with the last who waits, and tells nobody", async () => {
  const { watches, holders } = watched();
  const told: string[] = [];
  const stops = ["first", "second"].map((who) => holders.watch("host-2", () => told.push(who)));
  await vi.advanceTimersByTimeAsync(1_000);
  stops[0]?.();
  expect(watches[0]?.signal.aborted).toBe(false);
  stops[1]?.();
  expect(watches[0]?.signal.aborted).toBe(true);
  await vi.advanceTimersByTimeAsync(0);
  expect(told).toEqual([]);
  holders.watch("host-2", () => told.push("third"));
  await vi.advanceTimersByTimeAsync(1_000);
  expect(watches).toHaveLength(2);
});
