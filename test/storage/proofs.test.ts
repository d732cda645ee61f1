import { setImmediate as turn } from "node:timers/promises";
import { expect, test } from "vitest";
import { Proofs } from "../../app/storage/proofs.ts";

/** Reads that end when the test says so, in any order. */
class Reads {
  readonly sent: PromiseWithResolvers<void>[] = [];
  readonly proofs = new Proofs(() => {
    const read = Promise.withResolvers<void>();
    this.sent.push(read);
    return read.promise;
  });
}

async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  promise.then(
    () => (settled = true),
    () => (settled = true),
  );
  await turn();
  return settled;
}

test("all who ask within a turn share one read", async () => {
  const reads = new Reads();
  const asked = Array.from({ length: 100 }, () => reads.proofs.next());
  await turn();
  expect(reads.sent).toHaveLength(1);
  reads.sent[0]?.resolve();
  await Promise.all(asked);
});

test("who asks when a read has been sent is not covered by it", async () => {
  const reads = new Reads();
  const before = reads.proofs.next();
  await turn();
  const after = reads.proofs.next();
  await turn();
  reads.sent[0]?.resolve();
  await before;
  expect(await isSettled(after)).toBe(false);
  reads.sent[1]?.resolve();
  await after;
});

test("a read that fails fails exactly those who asked before it was sent", async () => {
  const reads = new Reads();
  const first = [reads.proofs.next(), reads.proofs.next()];
  await turn();
  const second = reads.proofs.next();
  await turn();
  reads.sent[0]?.reject(new Error("fenced"));
  for (const asked of first) await expect(asked).rejects.toThrow("fenced");
  reads.sent[1]?.resolve();
  await second;
});

test("only so many reads are under way, and whoever asks meanwhile gets a later one", async () => {
  const reads = new Reads();
  const asked: Promise<void>[] = [];
  for (let turns = 0; turns < 20; turns += 1) {
    asked.push(reads.proofs.next());
    await turn();
  }
  expect(reads.sent).toHaveLength(4);
  expect(await isSettled(asked[19] as Promise<void>)).toBe(false);
  reads.sent[2]?.resolve();
  await asked[2];
  await turn();
  expect(reads.sent).toHaveLength(5);
  for (let read = 0; read < reads.sent.length; read += 1) reads.sent[read]?.resolve();
  await Promise.all(asked);
});
