import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { uuidv7 } from "uuidv7";
import { onTestFinished } from "vitest";
import type { Agent } from "../../app/engine/agent.ts";
import { Engine } from "../../app/engine/engine.ts";
import { hasEnded, type Durability, type HistoryEvent } from "../../app/engine/journal.ts";
import type { Journal, ListedRun } from "../../app/engine/journal.ts";
import { sealingCodec, type Codec } from "../../app/storage/codec.ts";
import { SqliteJournal } from "../../app/storage/journal.ts";
import { connect, type Connection } from "../../db/connect.ts";
import { migrate } from "../../db/migrate.ts";
import { MortalClock, SetClock } from "../fakes/clock.ts";

/** So many turns of the event loop without a commit or a new timer, and nothing live is under way any more. */
const quietTurns = 12;
/** A replay commits nothing, and takes a turn or two for each row. */
const turnsPerRow = 2;
const maxTurns = 20_000;
/** Timers that a run may need until its end. */
const maxTimers = 5_000;

export interface TestEngineOptions {
  readonly maxLive?: number;
  readonly durability?: Durability;
  /** What the engine sees instead of the journal, to make it fail or wait. */
  readonly wrapJournal?: (journal: Journal) => Journal;
}

/** What stands between a commit and its effects. */
export class TestGate {
  mode: "pass" | "hold" | "reject" = "pass";
  calls = 0;
  #held: (() => void)[] = [];

  readonly pass = async (): Promise<void> => {
    this.calls += 1;
    if (this.mode === "reject") throw new Error("The store cannot be reached.");
    if (this.mode === "hold") await new Promise<void>((resolve) => this.#held.push(resolve));
  };

  /** Lets everyone through from now on. */
  open(): void {
    this.mode = "pass";
    for (const resolve of this.#held.splice(0)) resolve();
  }
}

/** The engine on its real journal over a file of its own, sealed, with a clock that is set. */
export class TestEngine {
  readonly clock = new SetClock();
  readonly gate = new TestGate();
  readonly codec: Codec = sealingCodec("1", randomBytes(32));
  readonly log: { readonly level: string; readonly message: string }[] = [];
  /** What `onTrouble` was told. */
  readonly troubles: unknown[] = [];
  readonly path: string;
  readonly #folder: string;
  readonly #options: TestEngineOptions;
  #agents: ReadonlyMap<string, Agent>;
  #life!: {
    readonly engine: Engine;
    readonly journal: SqliteJournal;
    readonly connection: Connection;
    readonly clock: MortalClock;
  };

  private constructor(agents: readonly Agent[], options: TestEngineOptions) {
    this.#folder = mkdtempSync(join(tmpdir(), "holdfast-engine-"));
    this.path = join(this.#folder, "tenant.db");
    this.#agents = byId(agents);
    this.#options = options;
    onTestFinished(() => this.remove());
  }

  /** Removed when the test has ended. */
  static async create(agents: readonly Agent[], options: TestEngineOptions = {}): Promise<TestEngine> {
    const made = new TestEngine(agents, options);
    await made.#begin();
    await made.engine.open();
    return made;
  }

  get engine(): Engine {
    return this.#life.engine;
  }

  get journal(): SqliteJournal {
    return this.#life.journal;
  }

  get connection(): Connection {
    return this.#life.connection;
  }

  /** Timers that the engine has set. */
  get timers(): number {
    return this.#life.clock.pending;
  }

  /** Nothing of this life goes on, and nothing that was not committed is: as if the process had been killed. */
  async crash(): Promise<void> {
    this.#life.clock.end();
    await this.#life.connection.close();
  }

  /** For a test that makes many. */
  async remove(): Promise<void> {
    await this.crash();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** A new engine over the same file, as after a crash; `agents` are another version of the code. */
  async reopen(options: ReopenOptions = {}): Promise<void> {
    await this.#reborn(options);
    await this.engine.open();
  }

  /** As `reopen`, before the engine has taken up its runs. */
  async reopenUnopened(options: ReopenOptions = {}): Promise<void> {
    await this.#reborn(options);
  }

  async start(agent: string, input?: unknown): Promise<string> {
    const { run } = await this.engine.start({ agent, input });
    await this.settle();
    return run.id;
  }

  async signal(runId: string, name: string, payload?: unknown): Promise<void> {
    await this.engine.signal(runId, { name, payload });
    await this.settle();
  }

  get(runId: string): Promise<ListedRun> {
    return this.engine.get(runId);
  }

  history(runId: string): Promise<readonly HistoryEvent[]> {
    return this.engine.history(runId, { after: 0, limit: 100_000 });
  }

  /** The history's rows as `kind name#attempt`, the way tests read best. */
  async rows(runId: string): Promise<readonly string[]> {
    return (await this.history(runId)).map(({ kind, name, attempt }) =>
      [kind, name]
        .filter((part) => part !== "")
        .join(" ")
        .concat(attempt > 0 ? `#${attempt}` : ""),
    );
  }

  /** Resolves when all that can go on without the clock has gone on. */
  async settle(): Promise<void> {
    let still = 0;
    let before = "";
    // A run that was parked is replayed whenever something wakes it.
    const enough = quietTurns + turnsPerRow * (await this.#countRows());
    for (let turns = 0; still < enough; turns += 1) {
      if (turns > maxTurns) throw new Error("The engine never comes to rest.");
      await new Promise((resolve) => setImmediate(resolve));
      const { commits } = this.#life.connection;
      const now = `${commits} ${this.clock.pending} ${this.clock.nextAt} ${this.gate.calls}`;
      still = now === before ? still + 1 : 0;
      before = now;
    }
  }

  advance(ms: number): Promise<void> {
    return this.clock.advance(ms, () => this.settle());
  }

  /** Sets the clock from timer to timer until the run has ended or nothing is left that would move it. */
  async finish(runId: string): Promise<ListedRun> {
    for (let timers = 0; timers < maxTimers; timers += 1) {
      await this.settle();
      const run = await this.get(runId);
      const { nextAt } = this.clock;
      if (hasEnded(run.status) || run.status === "paused" || nextAt === null) return run;
      await this.advance(Math.max(0, nextAt - this.clock.now()));
    }
    throw new Error(`Run ${runId} has not ended after ${maxTimers} timers.`);
  }

  async #reborn({ agents, lostAfter }: ReopenOptions): Promise<void> {
    await this.crash();
    if (agents !== undefined) this.#agents = byId(agents);
    await this.#begin();
    if (lostAfter !== undefined) await this.#forget(lostAfter);
  }

  /** Of the run with the longest history. */
  async #countRows(): Promise<number> {
    const sql = "SELECT MAX(seq) AS n FROM history";
    return (await this.connection.read((on) => on.get<{ n: number | null }>(sql)))?.n ?? 0;
  }

  async #begin(): Promise<void> {
    const connection = connect(this.path);
    await migrate(connection);
    const clock = new MortalClock(this.clock);
    const journal = new SqliteJournal(connection, this.codec, async () => {
      // As the real gate does, which must know of every commit before it.
      await connection.idle();
      await this.gate.pass();
    });
    const log =
      (level: string) =>
      (_facts: unknown, message: string): void =>
        void this.log.push({ level, message });
    const engine = new Engine({
      agents: this.#agents,
      journal: this.#options.wrapJournal?.(journal) ?? journal,
      clock,
      log: { info: log("info"), warn: log("warn"), error: log("error") },
      tenantId: "acme",
      durability: this.#options.durability ?? "replicated",
      newId: () => uuidv7(),
      random: Math.random,
      maxLive: this.#options.maxLive ?? 1_000,
      onTrouble: (error) => this.troubles.push(error),
    });
    this.#life = { engine, journal, connection, clock };
  }

  /** What a restore from an earlier moment holds of a run: its first rows, and nothing that came of the others. */
  async #forget({ runId, seq }: { readonly runId: string; readonly seq: number }): Promise<void> {
    await this.connection.write((on) => {
      on.run("DELETE FROM history WHERE run_id = ? AND seq > ?", [runId, seq]);
      on.run("UPDATE signals SET taken_by_seq = NULL WHERE run_id = ? AND taken_by_seq > ?", [runId, seq]);
      on.run(
        `UPDATE runs SET status = ?, wake_at = NULL, ended_at = NULL, output = NULL, error = NULL, result_key_id = NULL
         WHERE id = ?`,
        [seq === 0 ? "queued" : "running", runId],
      );
    });
  }
}

export interface ReopenOptions {
  readonly agents?: readonly Agent[];
  readonly lostAfter?: { readonly runId: string; readonly seq: number };
}

function byId(agents: readonly Agent[]): ReadonlyMap<string, Agent> {
  return new Map(agents.map((agent) => [agent.id, agent]));
}
