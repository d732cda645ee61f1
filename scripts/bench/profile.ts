import { Session } from "node:inspector/promises";

const intervalUs = 500;
const maxGroups = 6;
/** What is less is not worth a word. */
const leastShare = 0.02;

/** A sampling profile as V8 and `--cpu-prof` write it; what is read of it. */
export interface CpuProfile {
  readonly nodes: readonly ProfileNode[];
  /** Microseconds of the monotonic clock. */
  readonly startTime: number;
  readonly samples?: readonly number[] | undefined;
  readonly timeDeltas?: readonly number[] | undefined;
}

interface ProfileNode {
  readonly id: number;
  readonly callFrame: { readonly functionName: string; readonly url: string };
  readonly children?: readonly number[] | undefined;
}

/** Runs `work` under V8's sampling profiler and says where its processor's time went. */
export async function profiled(work: () => Promise<unknown>): Promise<string> {
  const session = new Session();
  session.connect();
  try {
    await session.post("Profiler.enable");
    await session.post("Profiler.setSamplingInterval", { interval: intervalUs });
    await session.post("Profiler.start");
    await work();
    const { profile } = await session.post("Profiler.stop");
    return describeProfile(profile);
  } finally {
    session.disconnect();
  }
}

/** Times of the monotonic clock, in microseconds. */
export interface Window {
  readonly fromUs: number;
  readonly toUs: number;
}

const always: Window = { fromUs: -Infinity, toUs: Infinity };

/** `38 % SQLite, 12 % app/engine, …`: shares of the time in which the thread had something to do, and how much it was idle. */
export function describeProfile(profile: CpuProfile, window: Window = always): string {
  const times = timesByGroup(profile, window);
  // The profiler starting and stopping.
  times.delete("node:inspector");
  const total = [...times.values()].reduce((sum, time) => sum + time, 0);
  const idle = times.get(idleGroup) ?? 0;
  times.delete(idleGroup);
  const busy = total - idle;
  if (busy === 0) return "not looked at long enough to tell what it does";
  const shares = [...times]
    .map(([group, time]) => ({ group, share: time / busy }))
    .filter(({ share }) => share >= leastShare)
    .toSorted((a, b) => b.share - a.share)
    .slice(0, maxGroups);
  const named = shares.map(({ group, share }) => `${percent(share)} ${group}`).join(", ");
  return `${percent(busy / total)} of the time busy; of that ${named}`;
}

const idleGroup = "idle";
const metaGroups: Readonly<Record<string, string>> = {
  "(idle)": idleGroup,
  "(program)": "Node and the kernel outside of JavaScript",
  "(garbage collector)": "garbage collection",
  "(root)": "Node and the kernel outside of JavaScript",
};

function timesByGroup(
  { nodes, startTime, samples = [], timeDeltas = [] }: CpuProfile,
  { fromUs, toUs }: Window,
): Map<string, number> {
  const groups = groupsOf(nodes);
  const times = new Map<string, number>();
  let at = startTime;
  for (const [i, id] of samples.entries()) {
    const delta = timeDeltas[i] ?? 0;
    at += delta;
    if (at < fromUs || at > toUs) continue;
    const group = groups.get(id) ?? "unknown";
    times.set(group, (times.get(group) ?? 0) + delta);
  }
  return times;
}

/** A native function belongs to whoever called it. Parents stand before their children. */
function groupsOf(nodes: readonly ProfileNode[]): ReadonlyMap<number, string> {
  const groups = new Map<number, string>();
  for (const node of nodes) {
    const group = ownGroup(node.callFrame) ?? groups.get(node.id) ?? "unknown";
    groups.set(node.id, group);
    for (const child of node.children ?? []) groups.set(child, group);
  }
  return groups;
}

function ownGroup({ functionName, url }: ProfileNode["callFrame"]): string | undefined {
  const meta = metaGroups[functionName];
  if (meta !== undefined) return meta;
  if (url === "") return undefined;
  const packaged = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1];
  if (packaged === "libsql") return "SQLite (libsql)";
  if (packaged !== undefined) return packaged;
  if (url.includes("internal/crypto")) return "node:crypto";
  if (/node:(_?http|net|stream|internal\/(_?http|net|streams?|stream_base_commons|deps\/undici))/.test(url))
    return "Node's HTTP and sockets";
  if (url.startsWith("node:")) return `node:${/^node:(?:internal\/)?([a-z_]+)/.exec(url)?.[1] ?? ""}`;
  return /\/(app\/storage\/codec|app\/[a-z]+|db|scripts\/bench)[./]/.exec(url)?.[1] ?? "other";
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}
