import type { Step, StepFunction, StepOptions } from "./agent.ts";
import { parseDuration } from "./duration.ts";
import type { Execution } from "./execution.ts";
import { invokeChild, startDetached } from "./step-child.ts";
import { StepCounter } from "./step-identity.ts";
import { readMapCall, runBranches } from "./step-map.ts";
import { runAttempts } from "./step-run.ts";
import { refuseInsideStep } from "./step-scope.ts";
import { waitForSignal } from "./step-signal.ts";
import { sleepUntil } from "./step-sleep.ts";
import { runTransaction } from "./step-tx.ts";
import { recordValue } from "./step-value.ts";

/** The `step` that an agent's function gets, or a branch of it, whose calls stand under `path`. */
export function createStep(execution: Execution, path = ""): Step {
  const counter = new StepCounter();
  const named = (name: string) => {
    refuseInsideStep(execution, name);
    return counter.next(path, name);
  };
  const { clock, ports } = execution;
  return {
    async run<Result>(
      name: string,
      optionsOrFn: StepOptions | StepFunction<Result>,
      maybeFn?: StepFunction<Result>,
    ): Promise<Result> {
      const options = typeof optionsOrFn === "function" ? {} : optionsOrFn;
      const fn = typeof optionsOrFn === "function" ? optionsOrFn : maybeFn;
      if (typeof fn !== "function") throw new TypeError(`step.run("${name}") needs a function.`);
      return (await runAttempts(execution, named(name), options, fn)) as Result;
    },
    async tx<Result>(name: string, fn: (tx: never) => Promise<Result>): Promise<Result> {
      if (typeof fn !== "function") throw new TypeError(`step.tx("${name}") needs a function.`);
      return (await runTransaction(execution, named(name), fn)) as Result;
    },
    async sleep(name, duration) {
      const ms = parseDuration(duration, `step.sleep("${name}")`);
      await sleepUntil(execution, named(name), () => clock.now() + ms);
    },
    async sleepUntil(name, time) {
      const until = new Date(time).getTime();
      if (!Number.isFinite(until))
        throw new RangeError(`step.sleepUntil("${name}"): ${String(time)} is no time.`);
      await sleepUntil(execution, named(name), () => until);
    },
    async waitForSignal(name, options) {
      return await waitForSignal(execution, named(name), options);
    },
    async invoke(name, agent, input) {
      return (await invokeChild(execution, named(name), agent.id, input)) as never;
    },
    async start(name, agent, input) {
      return await startDetached(execution, named(name), agent.id, input);
    },
    async map(...call: readonly unknown[]) {
      const { name, items, concurrency, fn } = readMapCall(call);
      const { occurrence } = named(name);
      const place = `${path === "" ? "" : `${path}/`}${name}${occurrence === 0 ? "" : `#${occurrence + 1}`}`;
      return (await runBranches(items, concurrency, (item, index) =>
        fn(item, { index, step: createStep(execution, `${place}:${index}`) }),
      )) as never;
    },
    async now() {
      return new Date((await recordValue(execution, named("now"), () => clock.now())) as number);
    },
    async uuid() {
      return (await recordValue(execution, named("uuid"), ports.newId)) as string;
    },
    async random() {
      return (await recordValue(execution, named("random"), ports.random)) as number;
    },
  };
}
