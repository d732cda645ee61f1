import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statfsSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, expect, test, vi } from "vitest";
import { connect } from "../../db/connect.ts";
import type { Connection, Statements } from "../../db/connect.ts";
import { migrate } from "../../db/migrate.ts";
import { meta } from "../../db/schema.ts";
import { codeOf, type Answer } from "../support/worker-client.ts";
import { WorkerPlace } from "../support/worker.ts";

const diskSize = 8 * 1024 * 1024;

test("a full disk refuses writes, loses nothing that was acknowledged, and writes go on once there is room", async () => {
  const disk = mountDisk();
  const ballast = join(disk, "ballast");
  writeFileSync(ballast, Buffer.alloc(4 * 1024 * 1024));
  const connection = connect(join(disk, "tenant.db"));
  onTestFinished(() => connection.close());
  await migrate(connection);

  const written: string[] = [];
  const insert = async (key: string) => {
    await connection.write((tx) => tx.run("INSERT INTO meta VALUES (?, ?)", [key, "x".repeat(20_000)]));
    written.push(key);
  };
  const full = { code: "SQLITE_FULL" };
  await expect(untilItFails((round) => insert(`a${String(round)}`))).rejects.toMatchObject(full);
  expect(written.length).toBeGreaterThan(5);

  // Still full: every way of writing says so, reads go on, and none of what was refused is there.
  const row = { key: "refused", value: "x".repeat(100_000) };
  await expect(connection.db.insert(meta).values(row)).rejects.toMatchObject({ cause: full });
  await expect(connection.db.transaction((tx) => tx.insert(meta).values(row))).rejects.toMatchObject(full);
  await expect(connection.db.batch([connection.db.insert(meta).values(row)])).rejects.toMatchObject(full);
  await expect(
    connection.db.transaction(async (tx) => {
      // More than SQLite's cache holds, so that the disk is met before the commit; the callback hides it.
      const large = { key: "refused", value: "x".repeat(6_000_000) };
      await expect(tx.insert(meta).values(large)).rejects.toMatchObject({ cause: full });
    }),
  ).rejects.toMatchObject(full);
  expect(await keys(connection)).toEqual(written.toSorted());

  unlinkSync(ballast);
  for (let i = 0; i < 20; i += 1) await insert(`b${String(i)}`);
  await connection.db.insert(meta).values({ key: "c", value: "by Drizzle" });
  written.push("c");
  expect(await keys(connection)).toEqual(written.toSorted());
  expect(await connection.read(integrity)).toEqual({ integrity_check: "ok" });

  await connection.close();
  const again = connect(connection.path);
  onTestFinished(() => again.close());
  expect(await keys(again)).toEqual(written.toSorted());
});

test("on a full disk a request is refused with 503, nothing that was acknowledged is lost, and a repeat succeeds once there is room", async () => {
  const disk = mountDisk();
  const store = mkdtempSync(join(tmpdir(), "holdfast-full-store-"));
  onTestFinished(() => {
    rmSync(store, { recursive: true, force: true });
  });
  const place = await WorkerPlace.open({
    HOLDFAST_STORE: `file:${store}`,
    HOLDFAST_DATA: join(disk, "data"),
  });
  onTestFinished(() => place.close());
  const worker = await place.start();
  const client = await worker.client("acme");
  const input = { token: "x".repeat(40_000), steps: 1, ms: 0 };
  const acknowledged: string[] = [];
  const start = async (round: number): Promise<void> => {
    const answer = await client.start("chain", input, { key: `run-${String(round)}` });
    if (answer.status >= 300) throw new Refused(answer);
    acknowledged.push(answer.body.id);
  };
  await start(0);
  const ballast = join(disk, "ballast");
  fillUp(ballast);
  const refused = await untilItFails((round) => start(round + 1)).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(Refused);
  const { answer } = refused as Refused;
  expect(answer.status).toBe(503);
  expect(codeOf(answer)).toMatch(/^(tenant_unavailable|not_durable)$/);
  expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
  const lastKey = acknowledged.length;

  unlinkSync(ballast);
  await vi.waitFor(() => start(lastKey), { timeout: 60_000, interval: 500 });
  for (const id of acknowledged)
    await vi.waitFor(async () => expect((await client.run(id)).body).toMatchObject({ status: "completed" }), {
      timeout: 30_000,
      interval: 200,
    });
}, 180_000);

class Refused extends Error {
  readonly answer: Answer;
  constructor(answer: Answer) {
    super(`Refused with ${String(answer.status)}: ${JSON.stringify(answer.body)}`);
    this.answer = answer;
  }
}

/** Leaves room for a few writes. */
function fillUp(ballast: string): void {
  const { bavail, bsize } = statfsSync(join(ballast, ".."));
  writeFileSync(ballast, Buffer.alloc(Math.max(0, bavail * bsize - 400_000)));
}

async function untilItFails(write: (round: number) => Promise<void>): Promise<never> {
  for (let round = 0; round < 1000; round += 1) await write(round);
  throw new Error(`The disk of ${String(diskSize)} bytes never got full`);
}

function keys(connection: Connection): Promise<string[]> {
  return connection.read((tx) =>
    tx.all<{ key: string }>("SELECT key FROM meta ORDER BY key").map((row) => row.key),
  );
}

function integrity(tx: Statements): unknown {
  return tx.get("SELECT integrity_check FROM pragma_integrity_check");
}

/** A file system of its own in memory, taken down when the test has ended. */
function mountDisk(): string {
  const folder = mkdtempSync(join(tmpdir(), "holdfast-full-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${String(diskSize)}`, "tmpfs", folder], {
      stdio: "pipe",
    });
  } catch (cause) {
    throw new Error(
      "This test fills a small disk of its own and may not mount one here. Run it as root, or in a container with --cap-add SYS_ADMIN.",
      { cause },
    );
  }
  onTestFinished(() => {
    // Lazily, since SQLite's handle is closed when it is collected, which may be later.
    execFileSync("umount", ["--lazy", folder]);
  });
  expect(statfsSync(folder).blocks * statfsSync(folder).bsize).toBe(diskSize);
  return folder;
}
