import { setImmediate as turnOfTheLoop } from "node:timers/promises";
import { expect, test } from "vitest";
import { Turns } from "../../app/storage/turns.ts";

/** Work that is under way until it is told to end. */
function works(turns: Turns): {
  readonly running: Set<string>;
  readonly begin: (name: string, weight?: number) => { end(): Promise<void> };
} {
  const running = new Set<string>();
  const begin = (name: string, weight?: number): { end(): Promise<void> } => {
    const ended = Promise.withResolvers<void>();
    const taken = turns.take(async () => {
      running.add(name);
      await ended.promise;
      running.delete(name);
    }, weight);
    return {
      end: async () => {
        ended.resolve();
        await taken;
        await turnOfTheLoop();
      },
    };
  };
  return { running, begin };
}

test("as much runs at a time as the limit takes, and the next begins when there is room for it", async () => {
  const { running, begin } = works(new Turns(10));
  const small = begin("small", 2);
  const large = begin("large", 8);
  begin("waits", 3);
  await turnOfTheLoop();
  expect([...running]).toEqual(["small", "large"]);
  await small.end();
  expect([...running]).toEqual(["large"]);
  await large.end();
  expect([...running]).toEqual(["waits"]);
});

test("who comes later with less does not overtake who waits for more", async () => {
  const { running, begin } = works(new Turns(10));
  const first = begin("first", 6);
  begin("large", 8);
  begin("small", 1);
  await turnOfTheLoop();
  expect([...running]).toEqual(["first"]);
  await first.end();
  expect([...running]).toEqual(["large", "small"]);
});

test("what is heavier than the limit runs alone", async () => {
  const { running, begin } = works(new Turns(10));
  const heavy = begin("heavy", 1_000);
  begin("next");
  await turnOfTheLoop();
  expect([...running]).toEqual(["heavy"]);
  await heavy.end();
  expect([...running]).toEqual(["next"]);
});

test("work that fails gives its turn back", async () => {
  const turns = new Turns(1);
  const failed = turns.take(() => Promise.reject(new Error("failed")));
  const next = turns.take(async () => "done");
  await expect(failed).rejects.toThrow("failed");
  expect(await next).toBe("done");
});
