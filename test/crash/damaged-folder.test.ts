import { cp, mkdtemp, open, readdir, rename, rm, stat, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { codeOf } from "../support/worker-client.ts";
import { WorkerPlace, type WorkerLife } from "../support/worker.ts";

let store: string;
let place: WorkerPlace;
beforeEach(async () => {
  store = await mkdtemp(join(tmpdir(), "holdfast-damage-"));
  place = await WorkerPlace.open({ HOLDFAST_STORE: `file:${store}/store` });
});
afterEach(async () => {
  await place.close();
  await rm(store, { recursive: true, force: true });
});

/** Acknowledged runs, each ended. */
async function runs(worker: WorkerLife, count: number): Promise<string[]> {
  const client = await worker.client("acme");
  const ids: string[] = [];
  for (let made = 0; made < count; made += 1) {
    const answer = await client.start("chain", { token: `t${made}`, steps: 2, ms: 0 }, { wait: "20s" });
    expect(answer.status).toBe(200);
    ids.push(answer.body.id);
  }
  return ids;
}

async function tenantFile(): Promise<string> {
  const [epoch] = (await readdir(join(place.dataFolder, "acme"))).filter((name) => /^e\d+$/.test(name));
  return join(place.dataFolder, "acme", String(epoch), "tenant.db");
}

async function scribbleOver(path: string): Promise<void> {
  // Into the file itself, where a page of the database stands, and not into a WAL that would hide it.
  const database = new DatabaseSync(path);
  database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  database.close();
  const file = await open(path, "r+");
  await file.write(Buffer.alloc(64, 0xa5), 0, 64, (await stat(path)).size - 4096);
  await file.close();
}

const damages: readonly (readonly [string, (path: string, earlier: string) => Promise<void>])[] = [
  ["whose WAL is gone", async (path) => rm(`${path}-wal`)],
  [
    "whose WAL was cut",
    async (path) => truncate(`${path}-wal`, Math.floor((await stat(`${path}-wal`)).size / 2)),
  ],
  ["with a damaged page", (path) => scribbleOver(path)],
  [
    "that was set back to an earlier copy of itself",
    async (_path, earlier) => {
      await rm(place.dataFolder, { recursive: true });
      await cp(earlier, place.dataFolder, { recursive: true });
    },
  ],
];

test.each(damages)(
  "a data folder %s loses nothing that was acknowledged: the replica is used",
  async (_what, damage) => {
    const first = await place.start();
    const ids = await runs(first, 4);
    const earlier = join(store, "earlier");
    await cp(place.dataFolder, earlier, { recursive: true });
    ids.push(...(await runs(first, 4)));
    await first.killHard();
    await damage(await tenantFile(), earlier);

    const second = await place.start();
    const client = await second.client("acme");
    for (const id of ids) expect((await client.run(id)).body).toMatchObject({ id, status: "completed" });
    expect(second.events("tenant.opened")[0]).toMatchObject({ source: "replica" });
    expect(second.events("tenant.local-loss")).toHaveLength(1);
    await second.killHard();
    await place.wipe();
    const third = await (await place.start()).client("acme");
    for (const id of ids) expect((await third.run(id)).status).toBe(200);
  },
  120_000,
);

test("a store that has lost a tenant's record, or everything, is not taken for one that never had it", async () => {
  const first = await place.start();
  const [id] = await runs(first, 1);
  await first.stop();
  const record = join(store, "store/tenants/acme/tenant.json");
  await rename(record, join(store, "record"));
  const second = await place.start();
  const refused = await (await second.client("acme")).run(String(id));
  expect([refused.status, codeOf(refused)]).toEqual([503, "tenant_unavailable"]);
  expect(JSON.stringify(refused.body)).toContain("tenant.json is gone");
  await second.stop();

  await rename(join(store, "record"), record);
  await rename(join(store, "store"), join(store, "away"));
  const third = await place.start();
  const unknown = await (await third.client("acme")).run(String(id));
  expect(unknown.status).toBe(503);
  expect(JSON.stringify(unknown.body)).toContain("Is HOLDFAST_STORE the right one?");
  await third.stop();
  await rm(join(store, "store"), { recursive: true });
  await rename(join(store, "away"), join(store, "store"));
  const fourth = await (await place.start()).client("acme");
  await vi.waitFor(async () => expect((await fourth.run(String(id))).status).toBe(200), { timeout: 20_000 });
}, 120_000);

test("a tenant whose key is gone is refused, and no other key is made", async () => {
  const first = await place.start();
  const [id] = await runs(first, 1);
  await first.stop();
  await place.wipe();
  await rm(join(store, "store/keys/acme.json"));
  const client = await (await place.start()).client("acme");
  const refused = await client.run(String(id));
  expect([refused.status, codeOf(refused)]).toEqual([503, "tenant_unavailable"]);
  expect(JSON.stringify(refused.body)).toContain("keys/acme.json is gone");
  expect(await readdir(join(store, "store/keys")).catch(() => [])).toEqual([]);
}, 60_000);
