import type { Agent, RunContext, Step } from "../../app/engine/agent.ts";
import { StepError } from "../../app/engine/errors.ts";
import {
  idempotencyKeyOf,
  identityKey,
  StepCounter,
  type StepIdentity,
} from "../../app/engine/step-identity.ts";
import type { Op } from "./program.ts";

/** What a run's code meets outside of itself. A process that is gone lets nothing of it go on. */
export interface Outside {
  readonly agent: (index: number) => Agent;
  /** Whether each call of a program has a name of its own, by its place there: then names tell parallel calls apart. */
  readonly ownNames: boolean;
  /** The code makes a call that has a name of its own. `before`: the calls that it may rest on. */
  readonly making: (runId: string, identity: StepIdentity, before: ReadonlySet<string>) => void;
  /** The code calls a step. */
  readonly called: (runId: string, idempotencyKey: string) => void;
  /** An attempt's effect, and then its end after `ms`. */
  readonly attempt: (idempotencyKey: string, attempt: number, ms: number) => Promise<void>;
  /** Whether what made the run's steps fail for good has been mended. */
  readonly isMended: (runId: string) => boolean;
  readonly count: (tx: unknown, runId: string, identity: StepIdentity) => Promise<void>;
  /** The code has got the result of a call. */
  readonly settled: (runId: string, identity: StepIdentity, result: unknown) => void;
}

interface Scope {
  readonly step: Step;
  readonly path: string;
  readonly counter: StepCounter;
  /** In the program: branches, rounds and numbers of operations. */
  readonly place: string;
  /** The calls that were made, in this branch and before it, by now. */
  readonly before: Set<string>;
}

/** Those that the engine records. */
type Call = Exclude<
  Op,
  { readonly op: "all" | "settled" | "race" | "loop" | "catch" | "finally" | "map" }
> & {
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
  const whole = {
    step: context.step,
    path: "",
    counter: new StepCounter(),
    place: "",
    before: new Set<string>(),
  };
  return await list(ops, whole);

  async function list(all: readonly Op[], scope: Scope): Promise<unknown> {
    const results: unknown[] = [];
    for (const [index, op] of all.entries())
      results.push(await one(op, { ...scope, place: `${scope.place}.${index}` }));
    return results;
  }

  /** Each branch rests on what was called before them all; what follows them may rest on each that was called by then. */
  async function branches(
    all: readonly (readonly Op[])[],
    scope: Scope,
    join: (calls: readonly Promise<unknown>[]) => Promise<unknown>,
  ): Promise<unknown> {
    const scopes = all.map((_branch, index) => ({
      ...scope,
      place: `${scope.place}/${index}`,
      before: new Set(scope.before),
    }));
    try {
      return await join(all.map((branch, index) => list(branch, scopes[index] as Scope)));
    } finally {
      for (const { before } of scopes) for (const key of before) scope.before.add(key);
    }
  }

  async function one(op: Op, scope: Scope): Promise<unknown> {
    switch (op.op) {
      case "all":
        return await branches(op.branches, scope, (calls) => Promise.all(calls));
      case "settled":
        return await branches(op.branches, scope, allOf);
      case "race":
        return await branches(op.branches, scope, (calls) => Promise.race(calls));
      case "loop": {
        const results: unknown[] = [];
        for (let round = 0; round < op.times; round += 1)
          results.push(await list(op.body, { ...scope, place: `${scope.place}#${round}` }));
        return results;
      }
      case "catch":
        try {
          return await list(op.body, scope);
        } catch (error) {
          if (!(error instanceof Error)) throw error;
          return `caught ${error.message}`;
        }
      case "finally":
        try {
          return await list(op.body, { ...scope, place: `${scope.place}/0` });
        } finally {
          await list(op.after, { ...scope, place: `${scope.place}/1` });
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

  async function map(op: Extract<Op, { op: "map" }>, scope: Scope): Promise<unknown> {
    const { step, path, counter, place, before } = scope;
    const name = named(op.name, scope);
    const { occurrence } = counter.next(path, name);
    const branchPath = `${path === "" ? "" : `${path}/`}${name}${occurrence === 0 ? "" : `#${occurrence + 1}`}`;
    const items = Array.from({ length: op.items }, (_none, index) => index);
    // One that has to wait for others rests on them too.
    const together = op.concurrency < op.items;
    const inBranches: Set<string>[] = [];
    try {
      return await step.map(name, items, { concurrency: op.concurrency }, (_item, branch) => {
        const own = together ? before : new Set(before);
        inBranches.push(own);
        return list(op.body, {
          step: branch.step,
          path: `${branchPath}:${branch.index}`,
          counter: new StepCounter(),
          place,
          before: own,
        });
      });
    } finally {
      for (const own of inBranches) for (const key of own) before.add(key);
    }
  }

  function named(name: string, { place }: Scope): string {
    return outside.ownNames ? `${name}${place}` : name;
  }

  async function call(op: Call, scope: Scope): Promise<unknown> {
    const { step, path, counter, before } = scope;
    const name = "name" in op ? named(op.name, scope) : op.op;
    const identity = counter.next(path, name);
    if ("name" in op && outside.ownNames) outside.making(run.id, identity, before);
    before.add(identityKey(identity));
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
    const { name } = identity;
    switch (op.op) {
      case "step":
        outside.called(run.id, idempotencyKeyOf(run.id, identity));
        return await step.run(
          name,
          op.timeoutMs === null ? {} : { timeout: op.timeoutMs },
          async ({ attempt, idempotencyKey }) => {
            await outside.attempt(idempotencyKey, attempt, op.ms);
            const failures = outside.isMended(run.id) ? 0 : op.failures;
            if (attempt <= failures) throw new Error(`attempt ${attempt} of ${op.name}`);
            return `${op.name}@${attempt}`;
          },
        );
      case "tx":
        return await step.tx(name, async (tx) => {
          await outside.count(tx, run.id, identity);
          const key = `${identity.path} ${identity.name} ${identity.occurrence}`;
          const failed = txFailures.get(key) ?? 0;
          txFailures = txFailures.set(key, failed + 1);
          if (failed < op.failures) throw new Error("the transaction fails");
          return "tx";
        });
      case "sleep":
        return (await step.sleep(name, op.ms)) ?? "slept";
      case "signal": {
        const timeout = op.timeoutMs === null ? {} : { timeout: op.timeoutMs };
        const received = await step.waitForSignal(name, { signal: op.signal, ...timeout });
        return received === null ? null : "received";
      }
      case "invoke":
        return (await step.invoke(name, outside.agent(op.agent), null)) ?? null;
      case "start":
        return await step.start(name, outside.agent(op.agent), null);
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

/** Awaits each of them to its end; then throws what the first that failed has thrown. */
async function allOf(calls: readonly Promise<unknown>[]): Promise<unknown> {
  const all = await Promise.allSettled(calls);
  return all.map((each) => {
    if (each.status === "rejected") throw each.reason;
    return each.value;
  });
}
