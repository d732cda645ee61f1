import type { Random } from "../crash/drill/random.ts";
import type { MemoryStore } from "../fakes/memory-store.ts";
import type { Machine } from "./machine.ts";

/**
 * A cache may vanish in part while nobody uses it. Under a running host, or its Litestream, it may not: a file that has lost
 * something would be shipped as it is, and a Litestream that is started anew without
 * its notes ships under numbers of which a request of the one before may still be on its way, and come last.
 */
export function damageDisk({ host, survivors, disk }: Machine, random: Random): void {
  if (host !== null || survivors.length > 0) return;
  for (const folder of disk.all()) {
    if (folder.file === null || !random.chance(0.5)) continue;
    if (random.chance(0.3)) folder.shipping = null;
    if (random.chance(0.3)) folder.note = null;
    const { file } = folder;
    const what = random.pick(["all of it", "a page", "its WAL", "its WAL", "its WAL"]);
    if (what === "all of it") folder.file = null;
    else if (what === "a page") file.damaged = true;
    else file.writes.length = random.between(file.checkpointed, file.writes.length);
  }
}

/** The newest replica loses its first transaction, so that nobody can restore from it. False if there is none. */
export function damageBucket({ objects }: MemoryStore): boolean {
  const first = [...objects.keys()].findLast((key) => key.endsWith("-0000000000000001.ltx"));
  return first !== undefined && objects.delete(first);
}

export function forgetFencedHosts({ objects }: MemoryStore): void {
  for (const [key, body] of objects)
    if (key.startsWith("hosts/") && body.includes('"fenced"')) objects.delete(key);
}
