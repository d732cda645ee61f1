import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { WorkerLife, WorkerPlace } from "../../support/worker.ts";
import { Executions } from "./executions.ts";
import { Ledger, type KnownRun, type Violation } from "./ledger.ts";
import { countMissing, readLocalFiles, type LocalFile } from "./local-files.ts";
import { tenants, type TenantId } from "./plan.ts";
import { whenQuiet } from "./quiet.ts";
import { Random } from "./random.ts";
import { clientsOf, Traffic } from "./traffic.ts";
import { Verification } from "./verify.ts";

export interface DrillOptions {
  /** The drill ends with the first round that has such a violation; any by default. */
  readonly endsAt?: (violation: Violation) => boolean;
  readonly place: WorkerPlace;
  /** What is started, of the project's folder. */
  readonly script: string;
  readonly rounds: number;
  /** Round n makes its choices by `seed + n`, so that it can be played again as the first one. */
  readonly seed: number;
  /** For how long clients write before the kill. */
  readonly loadMs: { readonly min: number; readonly max: number };
  /** Whether lives and epochs may be short: some are killed while they restore, some let tenants go as soon as they idle. */
  readonly shortLives: boolean;
}

/** What one round had. Without steps in flight and lost commits it would have proved nothing. */
export interface Round {
  readonly seed: number;
  readonly ms: number;
  readonly acknowledgedRuns: number;
  readonly acknowledgedSignals: number;
  readonly shownRows: number;
  readonly refused: number;
  /** Steps that were being executed when the worker was killed. */
  readonly inFlight: number;
  /** Executions that happened again afterwards. */
  readonly repeated: number;
  /** Rows that the dead worker's files held and the restored ones do not. */
  readonly lostCommits: number;
}

export interface DrillReport {
  readonly rounds: readonly Round[];
  /** All but those of the last round are none that the drill ends at. */
  readonly violations: readonly Violation[];
}

/**
 * One worker and one store through many deaths: clients write, everything is killed at a random moment, the data folder is
 * wiped, the worker starts again, and everything that was acknowledged must be there without any client's call.
 */
export async function runDrill(options: DrillOptions): Promise<DrillReport> {
  const drill = new Drill(options);
  const { rounds, endsAt = () => true } = options;
  for (let index = 0; index < rounds && !drill.ledger.violations.some(endsAt); index += 1) {
    try {
      await drill.round(index);
    } catch (cause) {
      throw new Error(`The drill broke off in the round of seed ${options.seed + index}`, { cause });
    }
  }
  return await drill.end();
}

type Files = ReadonlyMap<string, LocalFile>;

class Drill {
  readonly ledger = new Ledger();
  readonly #options: DrillOptions;
  readonly #executions: Executions;
  readonly #rounds: Omit<Round, "lostCommits">[] = [];
  /** What each killed worker left on its disk. */
  readonly #left: Files[] = [];
  #life: WorkerLife | null = null;

  constructor(options: DrillOptions) {
    this.#options = options;
    this.#executions = new Executions(join(options.place.folder, "executions.log"), this.ledger);
  }

  async round(index: number): Promise<void> {
    const startedAt = performance.now();
    const seed = this.#options.seed + index;
    const random = new Random(seed);
    const refusedBefore = this.ledger.refused;
    const repeatedBefore = this.#executions.repeated;
    this.#life ??= await this.#start(random);
    await this.#loadAndKill(this.#life, index, random);
    const known = this.ledger.ofRound(index);
    const inFlight = this.#executions.cut(known);
    const acknowledgedRuns = known.filter(({ acknowledged }) => acknowledged).length;
    const acknowledgedSignals = known.filter(({ signal }) => signal?.id != null).length;
    const left = await this.#readFiles();
    this.#life = await this.#startOnNothing(random);
    await whenQuiet(this.#life, this.ledger, tenantsToWake(known, left));
    await new Verification(await clientsOf(this.#life), this.ledger, index).everything();
    this.#executions.check();
    this.#left.push(left);
    this.#rounds.push({
      seed,
      ms: Math.round(performance.now() - startedAt),
      acknowledgedRuns,
      acknowledgedSignals,
      shownRows: known.reduce((sum, { rows }) => sum + rows.size, 0),
      refused: this.ledger.refused - refusedBefore,
      inFlight,
      repeated: this.#executions.repeated - repeatedBefore,
    });
  }

  /** Stops the last life in peace; the last round's files are compared with its. */
  async end(): Promise<DrillReport> {
    const code = await this.#life?.stop();
    if (code !== 0)
      this.ledger.violate("bad-answer", `the last stop gave ${code}. ${this.#life?.describe()}`);
    const all = [...this.#left, await this.#readFiles()];
    const rounds = this.#rounds.map((round, index) => ({
      ...round,
      lostCommits: countMissing(all[index] ?? new Map(), all[index + 1] ?? new Map()),
    }));
    return { rounds, violations: this.ledger.violations };
  }

  async #loadAndKill(life: WorkerLife, round: number, random: Random): Promise<void> {
    const traffic = new Traffic(await clientsOf(life), this.ledger, { round, random });
    const { min, max } = this.#options.loadMs;
    await sleep(random.between(min, max));
    traffic.expectDeath();
    await life.killHard();
    await traffic.ended();
  }

  async #startOnNothing(random: Random): Promise<WorkerLife> {
    await this.#options.place.wipe();
    if (this.#options.shortLives && random.chance(0.25)) {
      const stillborn = await this.#start(random);
      await sleep(random.between(0, 400));
      await stillborn.killHard();
      this.#executions.cut([]);
      await this.#options.place.wipe();
    }
    return await this.#start(random);
  }

  /** Tenants that are let go when they idle make a kill meet releases and claims too. */
  #start(random: Random): Promise<WorkerLife> {
    const { place, script, shortLives } = this.#options;
    const idle = shortLives && random.chance(0.5) ? { HOLDFAST_IDLE: "200ms" } : {};
    return place.start({ DRILL_EXECUTIONS: join(place.folder, "executions.log"), ...idle }, script);
  }

  #readFiles(): Promise<Files> {
    const { dataFolder, folder } = this.#options.place;
    return readLocalFiles(dataFolder, join(folder, "copy"));
  }
}

/** Those with an acknowledged run that can go on by itself. */
function tenantsToWake(known: readonly KnownRun[], left: Files): readonly TenantId[] {
  return tenants.filter((tenant) => {
    const due = left.get(tenant)?.due;
    return known.some(
      ({ plan, id, acknowledged }) => plan.tenant === tenant && acknowledged && due?.has(id ?? ""),
    );
  });
}
