import { expect, test } from "vitest";
import { orderedId, placeAfter } from "../../app/storage/ordered-id.ts";

const year3000 = Date.UTC(3000, 0, 1);

test("an id is a UUID of version 7 that begins with its time", () => {
  const id = orderedId(year3000);
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(Number.parseInt(id.replaceAll("-", "").slice(0, 12), 16)).toBe(year3000);
});

test("ids sort in the order in which they were made, within a millisecond and when the clock goes back", () => {
  const times = [...Array.from({ length: 20_000 }, () => year3000 + 1), year3000 - 5_000, year3000 + 2];
  const ids = times.map((time) => orderedId(time));
  expect(ids.toSorted()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
});

test("a millisecond that is full borrows from the next one", () => {
  const full = { ms: year3000, count: 2 ** 26 - 1 };
  expect(placeAfter(full, year3000, 7)).toEqual({ ms: year3000 + 1, count: 0 });
  expect(placeAfter(full, year3000 + 1, 7)).toEqual({ ms: year3000 + 1, count: 7 });
});
