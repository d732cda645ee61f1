import { beforeEach, expect, test } from "vitest";
import type { ObjectStore } from "../../app/storage/object-store.ts";
import { StoreUnavailableError } from "../../app/storage/object-store.ts";
import { WakeCallError, type WakeAnswer } from "../../app/waker/wake-call.ts";
import { Waker } from "../../app/waker/waker.ts";
import { collectLog } from "../support/litestream.ts";
import { wakeKey } from "../support/wakes.ts";

const now = Date.parse("2026-11-23T10:05:10.000Z");
const never = new AbortController().signal;

let keys: string[];
let storeError: Error | null;
let postponedError: Error | null;
let answer: WakeAnswer | Error;
let calls: number;
let sleeps: number[];
let log: ReturnType<typeof collectLog>;
beforeEach(() => {
  postponedError = null;
  [keys, storeError, answer, calls, sleeps, log] = [
    [wakeKey("acme", now)],
    null,
    { due: 1, served: 1 },
    0,
    [],
    collectLog(),
  ];
});

/** Ends after so many sleeps. */
function waker(rounds = 1): { readonly waker: Waker; readonly signal: AbortSignal } {
  const stop = new AbortController();
  const store = {
    list: async (prefix: string) => {
      if (storeError !== null) throw storeError;
      if (prefix === "postponed/" && postponedError !== null) throw postponedError;
      return keys.filter((key) => key.startsWith(prefix));
    },
  } as unknown as ObjectStore;
  const made = new Waker({
    store,
    log,
    everyMs: 60_000,
    now: () => now,
    call: async () => {
      calls += 1;
      if (answer instanceof Error) throw answer;
      return answer;
    },
    sleep: async (ms) => {
      if (sleeps.push(ms) >= rounds) stop.abort();
    },
  });
  return { waker: made, signal: stop.signal };
}

test("the app is not called for a tenant that is damaged before its next try, and is for the others", async () => {
  keys.push("postponed/acme/2026-11-23T10:00/2026-11-23T10:10");
  expect(await waker().waker.look(never)).toBe(true);
  expect(calls).toBe(0);
  keys.push(wakeKey("other", now));
  expect(await waker().waker.look(never)).toBe(true);
  expect(calls).toBe(1);
});

test("where it cannot be told what is postponed, nothing is", async () => {
  keys.push("postponed/acme/2026-11-23T10:00/2026-11-23T10:10");
  postponedError = new Error("the store is down");
  expect(await waker().waker.look(never)).toBe(true);
  expect(calls).toBe(1);
});

test("the app is called when a wake is due, and left alone when none is", async () => {
  expect(await waker().waker.look(never)).toBe(true);
  expect(calls).toBe(1);
  keys = [wakeKey("acme", now + 60_000)];
  expect(await waker().waker.look(never)).toBe(true);
  keys = [];
  expect(await waker().waker.look(never)).toBe(true);
  expect(calls).toBe(1);
});

test("a store that fails is no reason to call, and is looked at again soon", async () => {
  storeError = new StoreUnavailableError("no route to the store");
  const { waker: failing, signal } = waker(2);
  await failing.run(signal);
  expect([sleeps, calls]).toEqual([[5_000, 5_000], 0]);
  expect(log.lines).toHaveLength(2);
});

test("an app that does not answer is called again soon, and then at every interval", async () => {
  answer = new WakeCallError("no answer");
  const { waker: made, signal } = waker(2);
  await made.run(signal);
  expect(sleeps).toEqual([5_000, 5_000]);
  answer = { due: 1, served: 1 };
  [sleeps, calls] = [[], 0];
  const second = waker(3);
  await second.waker.run(second.signal);
  expect([sleeps, calls]).toEqual([[60_000, 60_000, 60_000], 3]);
});

test("wakes that the app could not serve are its own to try again, and a warning here", async () => {
  answer = { due: 2, served: 1 };
  expect(await waker().waker.look(never)).toBe(true);
  expect(log.lines).toMatchObject([{ level: "warn", fields: { due: 2, served: 1 } }]);
});

test("nothing is looked at once the waker is to end", async () => {
  const { waker: made } = waker();
  await made.run(AbortSignal.abort());
  expect([calls, sleeps]).toEqual([0, []]);
});
