import { startVersityGw } from "../support/versitygw.ts";
import type { Figure, Part, Size } from "./figure.ts";
import { Load } from "./load.ts";
import { shareOfProcessors } from "./processor-time.ts";
import { describeProfile } from "./profile.ts";
import { figuresOf, nothingSeen, type Seen } from "./replicated-figures.ts";
import { accessTo, putAndGetMs, type StoreAccess } from "./store-floor.ts";
import { countsBetween } from "./store-price.ts";
import { startStoreProxy, type RequestCounts } from "./store-proxy.ts";
import { startBenchWorker, type BenchWorker } from "./worker-place.ts";

const delayMs = 30;
const warmUpMs = 300;
const sizes = {
  full: { rounds: 3, plainMs: 1_500, farMs: 3_000, pairs: 15, clients: [1, 16, 256] },
  tiny: { rounds: 1, plainMs: 50, farMs: 50, pairs: 1, clients: [1, 2] },
} as const;

/** The real worker with its real Litestream on a real S3 server of this machine. */
export const replicatedPart: Part = {
  name: "replicated",
  title: "The worker at `replicated`, over HTTP: runs of 3 steps on one tenant",
  run: measureReplicated,
};

async function measureReplicated(size: Size): Promise<readonly Figure[]> {
  const { plainMs, farMs } = sizes[size];
  const store = await startVersityGw();
  try {
    const near = await measurePath("versitygw", size, plainMs, {
      store: accessTo(store, store.endpoint, "near"),
      storePid: store.pid,
      counts: () => undefined,
    });
    const proxy = await startStoreProxy(store.port, delayMs);
    try {
      const far = await measurePath(`${delayMs} ms away`, size, farMs, {
        store: accessTo(store, `http://127.0.0.1:${proxy.port}`, "far"),
        storePid: store.pid,
        counts: () => proxy.counts,
      });
      return [...near, ...far];
    } finally {
      await proxy.close();
    }
  } finally {
    await store.stop();
  }
}

/** A way to the store: who is on it, and what was asked on it up to now, if that is counted. */
interface Path {
  readonly store: StoreAccess;
  readonly storePid: number;
  readonly counts: () => RequestCounts | undefined;
}

async function measurePath(name: string, size: Size, forMs: number, path: Path): Promise<readonly Figure[]> {
  const { rounds, pairs, clients } = sizes[size];
  const pairMs: number[] = [];
  const seen = clients.map(nothingSeen);
  const worker = await startBenchWorker(path.store);
  try {
    for (let round = 0; round < rounds; round += 1)
      await withLoad(worker, `round-${round}`, async (load) => {
        for (const each of seen) {
          pairMs.push(...(await putAndGetMs(path.store, pairs)));
          await measureClients(load, each, { forMs, path, worker });
        }
      });
  } finally {
    await worker.stop();
  }
  const profiles = await profileWorker(path.store, clients, forMs);
  return seen.flatMap((each, i) => figuresOf(name, each, { pairMs, profile: profiles[i] ?? "" }));
}

async function measureClients(
  load: Load,
  seen: Seen,
  { forMs, path, worker }: { readonly forMs: number; readonly path: Path; readonly worker: BenchWorker },
): Promise<void> {
  const before = path.counts();
  const pids = { ...worker.pids, store: path.storePid, bench: process.pid };
  const { result, shares } = await shareOfProcessors(pids, () => load.toCompletion(seen.clients, forMs));
  const after = path.counts();
  if (before !== undefined && after !== undefined) seen.counts.push(countsBetween(before, after));
  seen.completedMs.push(...result.latenciesMs);
  seen.runsPerSecond.push(result.runsPerSecond);
  seen.runs += result.runs;
  seen.shares = shares;
  seen.acknowledgedMs.push(...(await load.toAcknowledgement(seen.clients, forMs)).latenciesMs);
}

/** A worker of its own for the profiler, which costs time: what each number of clients makes it do. */
async function profileWorker(
  store: StoreAccess,
  clients: readonly number[],
  forMs: number,
): Promise<readonly string[]> {
  const worker = await startBenchWorker(store, { profile: true });
  const windows: { readonly fromUs: number; readonly toUs: number }[] = [];
  let profile;
  try {
    await withLoad(worker, "profiled", async (load) => {
      for (const each of clients) {
        const fromUs = nowUs();
        await load.toCompletion(each, forMs);
        windows.push({ fromUs, toUs: nowUs() });
      }
    });
  } finally {
    profile = await worker.stop();
  }
  return windows.map((window) => (profile === undefined ? "" : describeProfile(profile, window)));
}

/** The clock of profiles, which all processes of a machine share. */
function nowUs(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

/** On a tenant that is open and has done something. */
async function withLoad(
  { url, tokenSecret }: BenchWorker,
  tenant: string,
  work: (load: Load) => Promise<void>,
): Promise<void> {
  const load = await Load.on({ url, tokenSecret, tenant });
  try {
    await load.toCompletion(4, warmUpMs);
    await work(load);
  } finally {
    load.close();
  }
}
