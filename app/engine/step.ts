import type { Step, StepFunction, StepOptions } from "./agent.ts";
import { parseDuration } from "./duration.ts";
import type { Execution } from "./execution.ts";
import { runAttempts } from "./step-run.ts";
import { waitForSignal } from "./step-signal.ts";
import { sleepUntil } from "./step-sleep.ts";
import { StepCounter } from "./step-identity.ts";

/** The `step` that an agent's function gets. */
export function createStep(execution: Execution): Step {
  const counter = new StepCounter();
  return {
    async run<Result>(
      name: string,
      optionsOrFn: StepOptions | StepFunction<Result>,
      maybeFn?: StepFunction<Result>,
    ): Promise<Result> {
      const options = typeof optionsOrFn === "function" ? {} : optionsOrFn;
      const fn = typeof optionsOrFn === "function" ? optionsOrFn : maybeFn;
      if (typeof fn !== "function") throw new TypeError(`step.run("${name}") needs a function.`);
      return (await runAttempts(execution, counter.next("", name), options, fn)) as Result;
    },
    async sleep(name, duration) {
      const ms = parseDuration(duration, `step.sleep("${name}")`);
      await sleepUntil(execution, counter.next("", name), () => execution.clock.now() + ms);
    },
    async sleepUntil(name, time) {
      const until = new Date(time).getTime();
      if (!Number.isFinite(until))
        throw new RangeError(`step.sleepUntil("${name}"): ${String(time)} is no time.`);
      await sleepUntil(execution, counter.next("", name), () => until);
    },
    async waitForSignal(name, options) {
      return await waitForSignal(execution, counter.next("", name), options);
    },
  };
}
