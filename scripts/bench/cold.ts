import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startVersityGw, type VersityGw } from "../support/versitygw.ts";
import {
  coldStart,
  describeColdStart,
  makeReleased,
  removeSnapshots,
  restoreMs,
  type ColdStart,
} from "./cold-start.ts";
import type { Figure, Part, Size } from "./figure.ts";
import { firstWrites } from "./first-write.ts";
import { medianOfRounds } from "./rounds.ts";
import { accessTo, type StoreAccess } from "./store-floor.ts";
import { startStoreProxy, type AnsweredRequest } from "./store-proxy.ts";
import { weekOfClaims } from "./week-of-claims.ts";
import { newSecrets } from "./worker-place.ts";

const delayMs = 30;
const sizes = {
  full: { rounds: 5, megabytes: [1, 100, 1_000], days: 7, claimsPerDay: 20 },
  tiny: { rounds: 1, megabytes: [1], days: 1, claimsPerDay: 2 },
} as const;

/** What a Machine with an empty disk needs before it answers, and what moving about costs. */
export const coldPart: Part = { name: "cold", title: "Cold starts and claims", run: measureCold };

async function measureCold(size: Size): Promise<readonly Figure[]> {
  const { megabytes, days, claimsPerDay } = sizes[size];
  const store = await startVersityGw();
  try {
    const near = { name: "versitygw", aim: "< 400 ms", store: accessTo(store, store.endpoint, "near") };
    return [
      ...(await measurePath(size, near, [])),
      ...(await measureFar(size, store)),
      ...(await firstWrites(store, megabytes)),
      await weekOfClaims({ days, claimsPerDay }),
    ];
  } finally {
    await store.stop();
  }
}

async function measureFar(size: Size, store: VersityGw): Promise<readonly Figure[]> {
  const requests: AnsweredRequest[] = [];
  const proxy = await startStoreProxy(store.port, delayMs, (request) => requests.push(request));
  try {
    const access = accessTo(store, `http://127.0.0.1:${proxy.port}`, "far");
    return await measurePath(
      size,
      { name: `${delayMs} ms away`, aim: "< 1,000 ms", store: access },
      requests,
    );
  } finally {
    await proxy.close();
  }
}

interface Path {
  readonly name: string;
  readonly aim: string;
  readonly store: StoreAccess;
}

async function measurePath(
  size: Size,
  { name, aim, store }: Path,
  requests: AnsweredRequest[],
): Promise<readonly Figure[]> {
  const [packed, replicaOnly] = await makeReleased(store, newSecrets(), ["packed", "replica-only"]);
  if (packed === undefined || replicaOnly === undefined) throw new Error("No tenant was made.");
  await removeSnapshots(store, replicaOnly);
  // The first start after a change of the code compiles it.
  await coldStart(store, packed);
  const starts: ColdStart[] = [];
  let last = "";
  const found = await medianOfRounds(sizes[size].rounds, {
    restore: () => restoreMs(store, packed),
    packed: async () => {
      requests.length = 0;
      const start = await coldStart(store, packed);
      starts.push(start);
      last = describeColdStart(start, requests);
      return start.answerMs;
    },
    replicaOnly: async () => (await coldStart(store, replicaOnly)).answerMs,
    uncompiled: () => uncompiledMs((environment) => coldStart(store, packed, environment)),
  });
  const floor = { what: "litestream restore by itself", value: found.restore };
  const processorMs = starts.reduce((sum, start) => sum + start.processorMs, 0) / starts.length;
  const figure = (what: string, value: number): Figure => ({
    what: `${name}: ${what}`,
    value,
    unit: "ms",
    floor,
  });
  return [
    {
      ...figure("from the process's start to its first answer", found.packed),
      aim,
      note: `${Math.round(processorMs)} ms of the worker's processor time; the last one, in ms from the spawn: ${last}`,
    },
    { ...figure("the same without a snapshot", found.replicaOnly), aim },
    figure("the same, nothing compiled yet", found.uncompiled),
  ];
}

async function uncompiledMs(
  start: (environment: Readonly<Record<string, string>>) => Promise<ColdStart>,
): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), "holdfast-bench-compiled-"));
  try {
    return (await start({ NODE_COMPILE_CACHE: folder })).answerMs;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
