import { CrashLoopError, crashesWithoutProgress, maxCrashes } from "../engine/crash-loop.ts";
import { hasEnded } from "../engine/journal.ts";
import type { EngineLog } from "../engine/log.ts";
import type { CrashNote, CrashNotes, CrashReport } from "../storage/crash-notes.ts";
import type { HostedTenant } from "./hosted-tenant.ts";

/** What one tenant's crashes have led to, from the pause of a run to the end of the notes that caused it. */
export class CrashQuarantine {
  readonly #notes: CrashNotes;
  readonly #log: EngineLog;
  /** Notes of crashes that have done their service. */
  #spent: readonly CrashNote[] = [];

  constructor(notes: CrashNotes, log: EngineLog) {
    this.#notes = notes;
    this.#log = log;
  }

  /** Whether there are notes left to remove. */
  get hasSpent(): boolean {
    return this.#spent.length > 0;
  }

  /** Runs that brought their host down again and again are not taken up. */
  async impose(tenant: HostedTenant): Promise<void> {
    this.#spent = await quarantineCrashLoops(tenant, this.#notes, this.#log);
  }

  /**
   * To be called when the pauses are durable: a disk that is lost before takes them with it, and the notes must be there to
   * repeat them. What fails is tried again by the next call.
   */
  async tidy(): Promise<void> {
    const spent = this.#spent;
    if (spent.length === 0) return;
    this.#spent = [];
    await this.#notes.remove(spent).catch(() => (this.#spent = spent));
  }
}

/**
 * Pauses the tenant's runs that brought their host down again and again, before its engine takes up any. Gives the notes
 * that are not needed any more, once that is durable.
 */
async function quarantineCrashLoops(
  { id, journal, runs }: HostedTenant,
  notes: CrashNotes,
  log: EngineLog,
): Promise<readonly CrashNote[]> {
  const spent: CrashNote[] = [];
  const byRun = Map.groupBy(await notes.list(), ({ runId }) => runId);
  for (const [runId, ofRun] of byRun) {
    const run = await journal.run(runId);
    if (run === undefined || hasEnded(run.status) || run.status === "paused") {
      spent.push(...ofRun);
      continue;
    }
    const seqs = ofRun.map(({ seq }) => seq);
    const crashes = crashesWithoutProgress(seqs, await journal.lastSeq(runId));
    if (crashes > 0 && crashes < maxCrashes) continue;
    spent.push(...ofRun);
    if (crashes === 0) continue;
    const last = ofRun.at(-1);
    const report = last === undefined ? undefined : await notes.read(last);
    const error = new CrashLoopError(crashes, describe(report));
    await runs.quarantine(runId, error);
    log.error({ event: "run.quarantined", tenant: id, run: runId, agent: run.agent }, error.message);
  }
  return spent;
}

function describe(report: CrashReport | undefined): string {
  if (report === undefined) return "is not known";
  const { reason, error, where, at } = report;
  const place = where.length === 0 ? "" : ` at ${where[0]}`;
  const what =
    reason === "standstill"
      ? `it held the event loop${place}`
      : `nobody caught its exception (${error ?? "unknown"}) thrown${place}`;
  return `${what}, ${new Date(at).toISOString()}`;
}
