import { AsyncLocalStorage } from "node:async_hooks";
import { NestedStepError } from "./errors.ts";
import type { Execution } from "./execution.ts";

/** In whose step's function the code is that runs now; it follows promises, timers and callbacks. */
const within = new AsyncLocalStorage<{ readonly execution: Execution; readonly step: string }>();

/** Calls a step's function so that durable calls inside of it are known. */
export function insideStep<Result>(execution: Execution, step: string, fn: () => Result): Result {
  return within.run({ execution, step }, fn);
}

/** Throws NestedStepError inside a function of one of the run's own steps. */
export function refuseInsideStep(execution: Execution, name: string): void {
  const outer = within.getStore();
  if (outer?.execution === execution) throw new NestedStepError(name, outer.step);
}
