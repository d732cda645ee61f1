import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { uuidv7 } from "uuidv7";
import { isAgent } from "../../app/engine/agent.ts";
import { systemClock } from "../../app/engine/clock.ts";
import { Engine } from "../../app/engine/engine.ts";
import { sealingCodec } from "../../app/storage/codec.ts";
import { SqliteJournal } from "../../app/storage/journal.ts";
import { connect, type Connection } from "../../db/connect.ts";
import { migrate } from "../../db/migrate.ts";

const maxLive = 1_000;
/** All that the bench measures has ended by then, or never will. */
const stopGraceMs = 1;

/** A tenant's file on this machine's disk, that may be opened again and again. */
export interface TenantFile {
  readonly path: string;
  readonly key: Uint8Array;
  remove(): Promise<void>;
}

/** One tenant open in this process, encryption on, at durability `local`: nothing waits for a store. */
export interface OpenTenant {
  readonly engine: Engine;
  readonly connection: Connection;
  close(): Promise<void>;
}

export async function makeTenantFile(): Promise<TenantFile> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-bench-"));
  return {
    path: join(folder, "tenant.db"),
    key: randomBytes(32),
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

/** `agents` are what `defineAgent` gives, whatever their inputs. */
export async function openTenant(file: TenantFile, agents: readonly unknown[]): Promise<OpenTenant> {
  const connection = connect(file.path);
  await migrate(connection);
  const engine = new Engine({
    agents: new Map(agents.filter(isAgent).map((agent) => [agent.id, agent])),
    journal: new SqliteJournal(connection, sealingCodec("1", file.key), async () => {}),
    clock: systemClock,
    log: { info: () => {}, warn: () => {}, error: console.error },
    tenantId: "bench",
    durability: "local",
    newId: () => uuidv7(),
    random: Math.random,
    maxLive,
    onTrouble: console.error,
  });
  await engine.open();
  return {
    engine,
    connection,
    async close() {
      await engine.stop(stopGraceMs);
      await connection.close();
    },
  };
}

/** Runs `work` on a tenant with a file of its own, which is removed afterwards. */
export async function withTenant<Result>(
  agents: readonly unknown[],
  work: (tenant: OpenTenant) => Promise<Result>,
): Promise<Result> {
  const file = await makeTenantFile();
  const tenant = await openTenant(file, agents);
  try {
    return await work(tenant);
  } finally {
    await tenant.close();
    await file.remove();
  }
}
