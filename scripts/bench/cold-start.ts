import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { locateLitestream } from "../../app/storage/litestream-binary.ts";
import { restoreReplica } from "../../app/storage/litestream-restore.ts";
import { openStore } from "../../app/storage/open-store.ts";
import { processorSeconds } from "./processor-time.ts";
import type { StoreAccess } from "./store-floor.ts";
import type { AnsweredRequest } from "./store-proxy.ts";
import { TenantClient } from "./tenant-client.ts";
import { startBenchWorker, type BenchSecrets } from "./worker-place.ts";

const projectRoot = join(import.meta.dirname, "../..");
const restoreWithinMs = 10 * 60_000;

/** A tenant that a worker had and gave away, with a run that is over. */
export interface ReleasedTenant {
  readonly id: string;
  readonly run: string;
  readonly secrets: BenchSecrets;
}

/** Has a worker make them, each with what `fill` does with it, and give them away. */
export async function makeReleased(
  store: StoreAccess,
  secrets: BenchSecrets,
  tenants: readonly string[],
  fill: (client: TenantClient) => Promise<void> = async () => {},
): Promise<readonly ReleasedTenant[]> {
  const worker = await startBenchWorker(store, { secrets });
  const made: ReleasedTenant[] = [];
  try {
    for (const tenant of tenants) {
      const client = await TenantClient.on({ ...worker, tenant });
      await fill(client);
      made.push({ id: tenant, secrets, run: await client.start("three-steps", {}, { toCompletion: true }) });
      client.close();
    }
  } finally {
    await worker.stop();
  }
  return made;
}

/** Leaves the tenant's replica as the only way to its file, as after a host that was killed. */
export async function removeSnapshots(access: StoreAccess, { id }: ReleasedTenant): Promise<void> {
  const store = openStore(access.url, { credentials: access.credentials, baseDir: "/" });
  for (const key of await store.list(`tenants/${id}/snapshots/`)) await store.delete(key);
}

/** When what was there, in milliseconds from the spawn of the process. */
export interface ColdStart {
  readonly answerMs: number;
  readonly listeningMs: number;
  readonly litestreamMs: number;
  /** Of the worker, all its threads, up to the answer. */
  readonly processorMs: number;
  readonly spawnedAt: number;
}

/** From the spawn of a worker without local data to its first answer, which reads a run of that tenant. */
export async function coldStart(
  store: StoreAccess,
  { id, run, secrets }: ReleasedTenant,
  environment: Readonly<Record<string, string>> = {},
): Promise<ColdStart> {
  const worker = await startBenchWorker(store, { secrets, environment });
  try {
    const { spawnedAt, pids } = worker;
    const client = await TenantClient.on({ ...worker, tenant: id });
    await client.readRunMs(run);
    const answerMs = performance.now() - spawnedAt;
    const processorMs = processorSeconds(pids.worker) * 1_000;
    client.close();
    const loggedMs = (name: string): number =>
      Number(worker.events(name)[0]?.["time"]) - performance.timeOrigin - spawnedAt;
    const [listeningMs, litestreamMs] = [loggedMs("listening"), loggedMs("litestream.started")];
    return { answerMs, listeningMs, litestreamMs, processorMs, spawnedAt };
  } finally {
    await worker.stop();
  }
}

/** What `litestream restore` by itself takes for the tenant's first epoch. */
export async function restoreMs(access: StoreAccess, { id }: ReleasedTenant): Promise<number> {
  const store = openStore(access.url, { credentials: access.credentials, baseDir: "/" });
  const folder = await mkdtemp(join(tmpdir(), "holdfast-bench-restore-"));
  const { accessKeyId, secretAccessKey } = access.credentials;
  try {
    const begunAt = performance.now();
    await restoreReplica({
      binary: locateLitestream(process.env["HOLDFAST_LITESTREAM"], projectRoot),
      replicaUrl: store.replicaUrl(`tenants/${id}/e1`),
      outputPath: join(folder, "tenant.db"),
      environment: {
        ...process.env,
        AWS_ACCESS_KEY_ID: accessKeyId,
        AWS_SECRET_ACCESS_KEY: secretAccessKey,
      },
      log: { info: () => {}, warn: () => {}, error: () => {} },
      timeoutMs: restoreWithinMs,
    });
    return performance.now() - begunAt;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** What happened when in a cold start, from what its store was asked: milliseconds from the spawn. */
export function describeColdStart(start: ColdStart, requests: readonly AnsweredRequest[]): string {
  const { spawnedAt, litestreamMs, listeningMs, answerMs } = start;
  const ms = (at: number): string => String(Math.round(at - spawnedAt));
  const during = (what: string, kind: AnsweredRequest["kind"], key: RegExp, from = spawnedAt): string[] => {
    const found = requests.find((one) => one.kind === kind && key.test(one.key) && one.sentAt >= from);
    return found === undefined ? [] : [`${what} ${ms(found.sentAt)} to ${ms(found.answeredAt)}`];
  };
  const listeningAt = spawnedAt + listeningMs;
  return [
    ...during("the store's probe", "get", /probes\/passed\.json$/),
    ...during("the host's record", "put", /hosts\//),
    `Litestream up at ${Math.round(litestreamMs)}`,
    `listening at ${Math.round(listeningMs)}`,
    ...during("the tenant's record", "get", /\/tenant\.json$/, listeningAt - 1),
    ...during("claim", "put", /\/tenant\.json$/, listeningAt),
    ...during("key", "get", /keys\//, listeningAt),
    ...during("snapshot", "get", /\/snapshots\//, listeningAt),
    ...during("proof", "get", /hosts\//, listeningAt),
    `answer at ${Math.round(answerMs)}`,
  ].join(", ");
}
