import { createReadStream, createWriteStream } from "node:fs";
import { mkdtemp, open, rm, statfs, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { VersityGw } from "../support/versitygw.ts";
import { makeReleased } from "./cold-start.ts";
import type { Figure } from "./figure.ts";
import { accessTo, type StoreAccess } from "./store-floor.ts";
import { TenantClient } from "./tenant-client.ts";
import { newSecrets, startBenchWorker } from "./worker-place.ts";

/** The file here, in Litestream's own folder, in the store and restored, each for a while twice. */
const freeTimesSize = 10;
const largeMegabytes = 1_000;

/** The first write in an epoch ships the whole file: how long its answer takes, by the file's size. */
export async function firstWrites(
  store: VersityGw,
  megabytes: readonly number[],
): Promise<readonly Figure[]> {
  const figures: Figure[] = [];
  for (const size of megabytes) figures.push(await firstWrite(store, size));
  return figures;
}

async function firstWrite(store: VersityGw, megabytes: number): Promise<Figure> {
  const what = `first durable write after a claim, a file of ${megabytes.toLocaleString("en-US")} MB`;
  const floorWhat = "writing as many bytes to this disk once, with fsync";
  if (megabytes >= largeMegabytes && (await freeMegabytes()) < megabytes * freeTimesSize)
    return { what, value: 0, unit: "ms", floor: null, note: "not measured: the disk has too little room" };
  const access = accessTo(store, store.endpoint, `size-${megabytes}`);
  const floorMs = await copyMs(megabytes);
  const seen = await writeAfterClaim(access, megabytes).catch((error: Error) => error);
  if (seen instanceof Error)
    return { what, value: 0, unit: "ms", floor: null, note: `not measured: ${seen.message.slice(0, 400)}` };
  return {
    what,
    value: seen.writeMs,
    unit: "ms",
    floor: { what: floorWhat, value: floorMs },
    note: `measured once; the claim before it, with the restore, took ${Math.round(seen.openMs)} ms, a second write ${Math.round(seen.nextMs)} ms`,
  };
}

async function writeAfterClaim(
  access: StoreAccess,
  megabytes: number,
): Promise<{ readonly openMs: number; readonly writeMs: number; readonly nextMs: number }> {
  const secrets = newSecrets();
  const fill = async (client: TenantClient): Promise<void> =>
    void (await client.start("fill", { megabytes }, { toCompletion: true }));
  const [tenant] = await makeReleased(access, secrets, ["large"], fill);
  if (tenant === undefined) throw new Error("No tenant was made.");
  const worker = await startBenchWorker(access, { secrets });
  try {
    const client = await TenantClient.on({ ...worker, tenant: tenant.id });
    const openMs = await client.readRunMs(tenant.run);
    const startMs = async (): Promise<number> => {
      const begunAt = performance.now();
      await client.start("three-steps");
      return performance.now() - begunAt;
    };
    const [writeMs, nextMs] = [await startMs(), await startMs()];
    client.close();
    return { openMs, writeMs, nextMs };
  } finally {
    await worker.stop();
  }
}

/** From one file to another, so that neither holds the processor for making it up. */
async function copyMs(megabytes: number): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-bench-write-"));
  const [source, target] = [join(folder, "source"), join(folder, "target")];
  try {
    const block = Buffer.alloc(1_000_000, "x");
    await writeFile(
      source,
      (function* () {
        for (let i = 0; i < megabytes; i += 1) yield block;
      })(),
    );
    const begunAt = performance.now();
    await pipeline(createReadStream(source), createWriteStream(target));
    const file = await open(target, "r+");
    await file.sync();
    await file.close();
    return performance.now() - begunAt;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function freeMegabytes(): Promise<number> {
  const { bavail, bsize } = await statfs(tmpdir());
  return (bavail * bsize) / 1e6;
}
