import { randomUUID } from "node:crypto";

/** What orders an id: epoch milliseconds, and a count of 26 bits among those of the same millisecond. */
export interface Place {
  readonly ms: number;
  readonly count: number;
}

/** A count begins below this, so that at least as many ids as that fit into any millisecond. */
const countBelow = 2 ** 25;
const maxCount = 2 ** 26 - 1;

let last: Place = { ms: 0, count: 0 };

/**
 * A UUID of version 7 (RFC 9562): in this process each sorts behind the one before it, also within a millisecond and when
 * the clock was set back. Behind its place are 48 random bits.
 */
export function orderedId(now: number = Date.now()): string {
  const random = randomUUID();
  last = placeAfter(last, now, Number.parseInt(random.slice(0, 8), 16));
  const time = last.ms.toString(16).padStart(12, "0");
  const high = (last.count >>> 14).toString(16).padStart(3, "0");
  const low = (0x8000 | (last.count & 0x3fff)).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${high}-${low}-${random.slice(24)}`;
}

/** `random` is a whole number; a millisecond that is full borrows from the next one. */
export function placeAfter({ ms, count }: Place, now: number, random: number): Place {
  if (now > ms) return { ms: now, count: random % countBelow };
  return count < maxCount ? { ms, count: count + 1 } : { ms: ms + 1, count: 0 };
}
