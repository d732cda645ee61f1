import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { OpeningQueue, type Lane, type Rank, type Turn } from "../../app/host/opening-queue.ts";
import { DrainingError } from "../../app/storage/errors.ts";

let roomFor: number[];
let begun: string[];

beforeEach(() => {
  vi.useFakeTimers();
  roomFor = [];
  begun = [];
});

afterEach(() => vi.useRealTimers());

function queueOf(limits: { places?: number; claims?: number; unparks?: number; waiting?: number } = {}) {
  return new OpeningQueue(
    {
      places: limits.places ?? 100,
      atOnce: { claim: limits.claims ?? 1, unpark: limits.unparks ?? 1 },
      maxWaiting: limits.waiting ?? 100,
      maxWaitMs: { client: 1_000, background: 5_000 },
    },
    (places) => roomFor.push(places),
  );
}

function enter(queue: OpeningQueue, name: string, lane: Lane = "claim", rank: Rank = "client"): Turn {
  const turn = queue.enter(lane, rank);
  turn.come.then(
    () => begun.push(name),
    (error: Error) => begun.push(`${name}: ${error.constructor.name}`),
  );
  return turn;
}

async function order(): Promise<readonly string[]> {
  await vi.advanceTimersByTimeAsync(0);
  return begun;
}

test("openings begin in order of arrival, so many at once as may", async () => {
  const queue = queueOf({ claims: 2 });
  const [a, b] = ["a", "b", "c", "d"].map((name) => enter(queue, name));
  expect([await order(), queue.length]).toEqual([["a", "b"], 2]);
  b?.opened();
  expect(await order()).toEqual(["a", "b", "c"]);
  a?.leave();
  expect([await order(), queue.length]).toEqual([["a", "b", "c", "d"], 0]);
});

test("a request goes before a wake that came first, and so does a wake that a request has joined", async () => {
  const queue = queueOf();
  const first = enter(queue, "first");
  const wakes = ["wake", "joined"].map((name) => enter(queue, name, "claim", "background"));
  const request = enter(queue, "request");
  wakes[1]?.promote();
  first.opened();
  expect(await order()).toEqual(["first", "request"]);
  request.opened();
  expect(await order()).toEqual(["first", "request", "joined"]);
  wakes[1]?.opened();
  expect(await order()).toEqual(["first", "request", "joined", "wake"]);
});

test("a parked tenant does not wait for restores", async () => {
  const queue = queueOf();
  for (const name of ["restore", "another"]) enter(queue, name);
  enter(queue, "parked", "unpark");
  expect(await order()).toEqual(["restore", "parked"]);
});

test("where all places are taken room is asked for, and whoever came first gets it", async () => {
  const queue = queueOf({ places: 1 });
  const open = enter(queue, "open");
  open.opened();
  enter(queue, "next");
  enter(queue, "later", "unpark");
  expect([await order(), roomFor]).toEqual([["open"], [1, 2]]);
  open.leave();
  open.leave();
  expect(await order()).toEqual(["open", "next"]);
});

test("beyond its bound the queue takes no more, and whoever waits too long is told to come again", async () => {
  const queue = queueOf({ waiting: 2 });
  enter(queue, "slow");
  enter(queue, "waits");
  enter(queue, "waits too");
  expect(() => enter(queue, "too many")).toThrow(
    expect.objectContaining({ code: "tenant_unavailable", retryAfterSeconds: 5 }),
  );
  enter(queue, "wake", "claim", "background");
  await vi.advanceTimersByTimeAsync(1_000);
  expect([await order(), queue.length]).toEqual([
    ["slow", "waits: TenantUnavailableError", "waits too: TenantUnavailableError"],
    1,
  ]);
  await vi.advanceTimersByTimeAsync(4_000);
  expect([begun.at(-1), queue.length]).toEqual(["wake: TenantUnavailableError", 0]);
});

test("a queue that is closed lets nobody in", async () => {
  const queue = queueOf();
  enter(queue, "opening");
  enter(queue, "waiting");
  queue.close(new DrainingError());
  expect(() => enter(queue, "late")).toThrow(DrainingError);
  expect(await order()).toEqual(["opening", "waiting: DrainingError"]);
});
