import type { Agent, RunContext, Step } from "../../app/engine/agent.ts";
import { StepError } from "../../app/engine/errors.ts";
import { idempotencyKeyOf, StepCounter, type StepIdentity } from "../../app/engine/step-identity.ts";
import type { Op } from "./program.ts";

/** What a run's code meets outside of itself. A process that is gone lets nothing of it go on. */
export interface Outside {
  readonly agent: (index: number) => Agent;
  /** The code calls a step. */
  readonly called: (runId: string, idempotencyKey: string) => void;
  /** An attempt's effect, and then its end after `ms`. */
  readonly attempt: (idempotencyKey: string, attempt: number, ms: number) => Promise<void>;
  readonly count: (tx: unknown, runId: string, identity: StepIdentity) => Promise<void>;
  /** The code has got the result of a call. */
  readonly settled: (runId: string, identity: StepIdentity, result: unknown) => void;
}

interface Scope {
  readonly step: Step;
  readonly path: string;
  readonly counter: StepCounter;
}

/** Those that the engine records. */
type Call = Exclude<Op, { readonly op: "all" | "race" | "loop" | "catch" | "map" }> & {
  readonly op: Exclude<Op["op"], "state" | "throw">;
};

/** Runs the program; what it gives tells what each of its calls gave, except where that is chance. */
export async function interpret(
  ops: readonly Op[],
  context: RunContext<unknown>,
  outside: Outside,
): Promise<unknown> {
  const { run } = context;
  let txFailures = new Map<string, number>();
  return await list(ops, { step: context.step, path: "", counter: new StepCounter() });

  async function list(all: readonly Op[], scope: Scope): Promise<unknown> {
    const results: unknown[] = [];
    for (const op of all) results.push(await one(op, scope));
    return results;
  }

  async function one(op: Op, scope: Scope): Promise<unknown> {
    switch (op.op) {
      case "all":
        return await Promise.all(op.branches.map((branch) => list(branch, scope)));
      case "race":
        return await Promise.race(op.branches.map((branch) => list(branch, scope)));
      case "loop": {
        const results: unknown[] = [];
        for (let round = 0; round < op.times; round += 1) results.push(await list(op.body, scope));
        return results;
      }
      case "catch":
        try {
          return await list(op.body, scope);
        } catch (error) {
          if (!(error instanceof Error)) throw error;
          return `caught ${error.message}`;
        }
      case "map":
        return await map(op, scope);
      case "state":
        run.setState({ path: scope.path });
        return "state";
      case "throw":
        throw new Error("thrown by the program");
      case "step":
      case "tx":
      case "sleep":
      case "signal":
      case "invoke":
      case "start":
      case "now":
      case "uuid":
      case "random":
        return await call(op, scope);
      default:
        return op satisfies never;
    }
  }

  async function map(op: Extract<Op, { op: "map" }>, { step, path, counter }: Scope): Promise<unknown> {
    const { occurrence } = counter.next(path, op.name);
    const place = `${path === "" ? "" : `${path}/`}${op.name}${occurrence === 0 ? "" : `#${occurrence + 1}`}`;
    const items = Array.from({ length: op.items }, (_none, index) => index);
    return await step.map(op.name, items, { concurrency: op.concurrency }, (_item, branch) =>
      list(op.body, { step: branch.step, path: `${place}:${branch.index}`, counter: new StepCounter() }),
    );
  }

  async function call(op: Call, { step, path, counter }: Scope): Promise<unknown> {
    const identity = counter.next(path, "name" in op ? op.name : op.op);
    try {
      const result = await made(op, step, identity);
      outside.settled(run.id, identity, result);
      return op.op === "now" || op.op === "uuid" || op.op === "random" || op.op === "start" ? op.op : result;
    } catch (error) {
      if (error instanceof StepError) outside.settled(run.id, identity, error.message);
      throw error;
    }
  }

  async function made(op: Call, step: Step, identity: StepIdentity): Promise<unknown> {
    switch (op.op) {
      case "step":
        outside.called(run.id, idempotencyKeyOf(run.id, identity));
        return await step.run(
          op.name,
          op.timeoutMs === null ? {} : { timeout: op.timeoutMs },
          async ({ attempt, idempotencyKey }) => {
            await outside.attempt(idempotencyKey, attempt, op.ms);
            if (attempt <= op.failures) throw new Error(`attempt ${attempt} of ${op.name}`);
            return `${op.name}@${attempt}`;
          },
        );
      case "tx":
        return await step.tx(op.name, async (tx) => {
          await outside.count(tx, run.id, identity);
          const key = `${identity.path} ${identity.name} ${identity.occurrence}`;
          const failed = txFailures.get(key) ?? 0;
          txFailures = txFailures.set(key, failed + 1);
          if (failed < op.failures) throw new Error("the transaction fails");
          return "tx";
        });
      case "sleep":
        return (await step.sleep(op.name, op.ms)) ?? "slept";
      case "signal": {
        const timeout = op.timeoutMs === null ? {} : { timeout: op.timeoutMs };
        const received = await step.waitForSignal(op.name, { signal: op.signal, ...timeout });
        return received === null ? null : "received";
      }
      case "invoke":
        return (await step.invoke(op.name, outside.agent(op.agent), null)) ?? null;
      case "start":
        return await step.start(op.name, outside.agent(op.agent), null);
      case "now":
        return await step.now();
      case "uuid":
        return await step.uuid();
      case "random":
        return await step.random();
      default:
        return op satisfies never;
    }
  }
}
