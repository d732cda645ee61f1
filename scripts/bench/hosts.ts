import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { startVersityGw, type VersityGw } from "../support/versitygw.ts";
import type { Figure, Part, Size } from "./figure.ts";
import { sharesOfThreads, untilQuiet } from "./processor-time.ts";
import { median, percentile } from "./statistics.ts";
import { accessTo, putAndGetMs, type StoreAccess } from "./store-floor.ts";
import { startStoreProxy } from "./store-proxy.ts";
import { TenantClient } from "./tenant-client.ts";
import { collectedMemory, untilParked } from "./worker-metrics.ts";
import { startBenchWorker, type BenchWorker } from "./worker-place.ts";

const delayMs = 30;
const clients = 16;
const parkWithinMs = 120_000;
const quietWithinMs = 60_000;
const sizes = {
  // A minute at rest, since once a minute the host looks at all wakes.
  full: { tenants: 10_000, active: 100, warmUp: 2_000, quietMs: 5_000, restMs: 60_000, first: 50 },
  tiny: { tenants: 12, active: 4, warmUp: 6, quietMs: 100, restMs: 200, first: 3 },
} as const;

const collecting = pathToFileURL(join(import.meta.dirname, "collect-on-signal.ts")).href;

/** What a host pays for tenants that are its own and that nobody uses, and what they pay when somebody comes. */
export const hostsPart: Part = {
  name: "hosts",
  title: "Many tenants on one host, each with a sleeping run",
  run: measureHosts,
};

async function measureHosts(size: Size): Promise<readonly Figure[]> {
  const store = await startVersityGw();
  try {
    const proxy = await startStoreProxy(store.port, delayMs);
    try {
      const far = accessTo(store, `http://127.0.0.1:${proxy.port}`, "far");
      return [
        ...(await measureMany(size, store)),
        await firstRequest(size, "versitygw", accessTo(store, store.endpoint, "near"), "< 30 ms"),
        await firstRequest(size, `${delayMs} ms away`, far, undefined),
      ];
    } finally {
      await proxy.close();
    }
  } finally {
    await store.stop();
  }
}

/** So many as may be open stay so, the least recently used of them makes room for the next one. */
async function measureMany(size: Size, store: VersityGw): Promise<readonly Figure[]> {
  const { tenants, active, warmUp, quietMs, restMs } = sizes[size];
  const worker = await startBenchWorker(accessTo(store, store.endpoint, "many"), {
    environment: {
      HOLDFAST_MAX_OPEN: String(active),
      HOLDFAST_IDLE: "30 days",
      HOLDFAST_RELEASE: "30 days",
      HOLDFAST_MAX_DISK: "unlimited",
      NODE_OPTIONS: `--expose-gc --import=${collecting}`,
    },
  });
  try {
    // Some of what the first tenants leave behind is of the code, not of them.
    await make(worker, 0, warmUp);
    await untilParked(worker, warmUp - active, parkWithinMs);
    const before = await collectedMemory(worker);
    const begunAt = performance.now();
    await make(worker, warmUp, tenants);
    await untilParked(worker, tenants - active, parkWithinMs);
    const madeMs = (performance.now() - begunAt) / (tenants - warmUp);
    const after = await collectedMemory(worker);
    const each = (of: (memory: typeof before) => number): number =>
      (of(after) - of(before)) / (tenants - warmUp);
    await untilQuiet(worker.pids.worker, { stretchMs: quietMs, withinMs: quietWithinMs });
    const rest = await processorsAtRest(worker, restMs);
    const parked = tenants - active;
    const whole = `${parked.toLocaleString("en-US")} parked, ${active} open`;
    const entry = { what: "its name and its record as text, in a Map", value: bytesOfEntries(tenants) };
    const figure = { unit: "bytes", floor: entry, aim: "< 4,096 bytes" };
    return [
      {
        ...figure,
        what: "memory of a parked tenant: heap and external",
        value: each(({ heap, external }) => heap + external),
        note: `${Math.round(each(({ external }) => external))} bytes of it external; made, run and parked in ${madeMs.toFixed(1)} ms each, ${clients} at once`,
      },
      {
        ...figure,
        what: "memory of a parked tenant: growth of RSS",
        value: each(({ rss }) => rss),
        note: `RSS ${Math.round(after.rss / 1e6)} MB with ${whole}; ${Math.round(before.rss / 1e6)} MB with ${warmUp} tenants`,
      },
      {
        what: `descriptors, ${whole}`,
        value: after.descriptors,
        unit: "descriptors",
        floor: { what: `the same host with ${warmUp} tenants, ${active} open`, value: before.descriptors },
        aim: "no more than with none parked",
      },
      {
        what: `processor at rest, ${whole}: the worker`,
        value: rest.worker * 100,
        unit: "% of one",
        floor: null,
        aim: "< 1 %",
        note: `over ${restMs / 1_000} s, when it had become quiet: ${rest.threads}; Litestream ${(rest.litestream * 100).toFixed(1)} % for the ${active} open ones`,
      },
    ];
  } finally {
    await worker.stop();
  }
}

async function firstRequest(
  size: Size,
  name: string,
  access: StoreAccess,
  aim: string | undefined,
): Promise<Figure> {
  const { first } = sizes[size];
  const worker = await startBenchWorker(access, {
    environment: { HOLDFAST_IDLE: "1s", HOLDFAST_RELEASE: "1h" },
  });
  try {
    const runs = await make(worker, 0, first);
    await untilParked(worker, first, parkWithinMs);
    const pairMs = await putAndGetMs(access, 10);
    const tookMs: number[] = [];
    const againMs: number[] = [];
    for (let n = 0; n < first; n += 1) {
      const client = await TenantClient.on({ ...worker, tenant: nameOf(n) });
      tookMs.push(await client.readRunMs(runs[n] ?? ""));
      againMs.push(await client.readRunMs(runs[n] ?? ""));
      client.close();
    }
    return {
      what: `${name}: first request of a parked tenant, a read (p50 / p99)`,
      value: median(tookMs),
      p99: percentile(tookMs, 99),
      unit: "ms",
      floor: {
        what: "the same request of the open tenant",
        value: median(againMs),
        p99: percentile(againMs, 99),
      },
      ...(aim === undefined ? {} : { aim }),
      note: `a PUT and a GET of the store take ${median(pairMs).toFixed(1)} ms; nothing but the proof, a GET, is asked of it`,
    };
  } finally {
    await worker.stop();
  }
}

/** Each tenant's first run; gives their ids. */
async function make(worker: BenchWorker, from: number, to: number): Promise<readonly string[]> {
  const runs: string[] = [];
  let next = from;
  const makeSome = async (): Promise<void> => {
    while (next < to) {
      const n = next++;
      const client = await TenantClient.on({ ...worker, tenant: nameOf(n) });
      runs[n - from] = await client.start("sleeper");
      client.close();
    }
  };
  await Promise.all(Array.from({ length: clients }, makeSome));
  return runs;
}

function nameOf(n: number): string {
  return `tenant-${n}`;
}

/** Shares of one processor that the worker and its Litestream use when nobody asks for anything. */
async function processorsAtRest(
  { pids }: BenchWorker,
  forMs: number,
): Promise<{ readonly worker: number; readonly litestream: number; readonly threads: string }> {
  const ofLitestream = pids.litestream === undefined ? new Map() : sharesOfThreads(pids.litestream, forMs);
  const [worker, litestream] = await Promise.all([sharesOfThreads(pids.worker, forMs), ofLitestream]);
  const told = [...worker].map(([name, share]) => `${name} ${(share * 100).toFixed(2)} %`);
  return { worker: sum(worker.values()), litestream: sum(litestream.values()), threads: told.join(", ") };
}

function sum(shares: Iterable<number>): number {
  return [...shares].reduce((total, share) => total + share, 0);
}

/** What the floor is made of: the least that must be known of a tenant to go on without asking the store. */
function bytesOfEntries(tenants: number): number {
  const record = JSON.stringify({
    nonce: "x".repeat(24),
    epoch: 1,
    host: "x".repeat(36),
    region: "local",
    lineage: [{ epoch: 1, machine: "x".repeat(40), from: { epoch: 0, txid: null }, openedAt: Date.now() }],
  });
  return record.length + nameOf(tenants).length + 2 * 16 + 3 * 8;
}
