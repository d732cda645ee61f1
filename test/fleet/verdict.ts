import { setTimeout as sleep } from "node:timers/promises";
import { WorkerClient } from "../support/worker-client.ts";
import type { Fleet } from "./fleet.ts";
import type { Acknowledged } from "./traffic.ts";

export interface Verdict {
  readonly acknowledged: number;
  /** Acknowledged runs that are not there, or are another run under the same key. */
  readonly lost: readonly string[];
  /** Acknowledged runs that did not complete although a host runs. */
  readonly unfinished: readonly string[];
  /** Epochs that two hosts acknowledged in, and acknowledgements of an epoch after those of a later one. */
  readonly byTwoHosts: readonly string[];
}

const endsWithinMs = 30_000;

/** Compares what clients were told with what the fleet has now. */
export async function judge(fleet: Fleet, acknowledged: readonly Acknowledged[]): Promise<Verdict> {
  const lost: string[] = [];
  const unfinished: string[] = [];
  for (const tenant of new Set(acknowledged.map((one) => one.tenant))) {
    const mine = acknowledged.filter((one) => one.tenant === tenant);
    const statuses = await whenEnded(fleet, tenant);
    for (const { key, runId } of mine) {
      const status = statuses.get(runId);
      if (status === undefined) lost.push(`${key} (${runId})`);
      else if (status !== "completed") unfinished.push(`${key} is ${status}`);
    }
  }
  return { acknowledged: acknowledged.length, lost, unfinished, byTwoHosts: sharedEpochs(acknowledged) };
}

/** The longest time within `from` and `until` in which no request of the tenant that was sent then was acknowledged. */
export function longestGapMs(
  acknowledged: readonly Acknowledged[],
  tenant: string,
  [from, until]: readonly [number, number],
): number {
  const times = acknowledged
    .filter((one) => one.tenant === tenant && one.answeredAt >= from && one.answeredAt <= until)
    .map(({ answeredAt }) => answeredAt)
    .toSorted((a, b) => a - b);
  const edges = [from, ...times, until];
  return Math.max(...edges.slice(1).map((time, index) => time - (edges[index] ?? time)));
}

/** An epoch is one host's; once a later one has acknowledged, an earlier one answers nothing that is sent afterwards. */
export function sharedEpochs(acknowledged: readonly Acknowledged[]): readonly string[] {
  const found: string[] = [];
  const hosts = new Map<string, string>();
  for (const { tenant, epoch, host } of acknowledged) {
    const place = `${tenant} epoch ${epoch}`;
    const known = hosts.get(place) ?? host;
    hosts.set(place, known);
    if (known !== host) found.push(`${place}: ${known} and ${host}`);
  }
  const newest = new Map<string, number>();
  const inOrder = acknowledged
    .flatMap((one) => [
      { at: one.answeredAt, kind: "answered" as const, one },
      { at: one.sentAt, kind: "sent" as const, one },
    ])
    .toSorted((a, b) => a.at - b.at);
  for (const { kind, one } of inOrder) {
    const epoch = newest.get(one.tenant) ?? 0;
    if (kind === "answered") newest.set(one.tenant, Math.max(epoch, one.epoch));
    else if (one.epoch < epoch) found.push(`${one.key}: epoch ${one.epoch} after ${epoch}`);
  }
  return found;
}

/** The tenant's runs by id, once all have ended or it has taken too long. */
async function whenEnded(fleet: Fleet, tenantId: string): Promise<ReadonlyMap<string, string>> {
  const deadline = performance.now() + endsWithinMs;
  for (;;) {
    const statuses = await runsOf(fleet, tenantId);
    const waits = statuses === null || [...statuses.values()].some((status) => status !== "completed");
    if (!waits || performance.now() > deadline) return statuses ?? new Map();
    await sleep(200);
  }
}

async function runsOf(fleet: Fleet, tenantId: string): Promise<ReadonlyMap<string, string> | null> {
  const [host] = fleet.up;
  if (host === undefined) throw new Error("No host runs.");
  const client = await WorkerClient.for({ url: host.url, tenantId, tokenSecret: fleet.tokenSecret });
  const statuses = new Map<string, string>();
  let cursor: string | null = null;
  do {
    const page: Awaited<ReturnType<WorkerClient["runs"]>> = await client.runs(cursor);
    if (page.status !== 200) return null;
    for (const { id, status } of page.body.items) statuses.set(id, status);
    cursor = page.body.next;
  } while (cursor !== null);
  return statuses;
}
