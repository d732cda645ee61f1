import { defineAgent } from "holdfast";
import { z } from "zod";
import { execute } from "../execution-log.ts";
import { executeOnceMended } from "./mended.ts";

/** A step, a nap, a step. */
export const leaf = defineAgent(
  { id: "leaf", input: z.object({ token: z.string(), napMs: z.number() }) },
  async ({ input: { token, napMs }, step, run }) => {
    const place = { run: run.id, token };
    await step.run("wake up", ({ attempt }) =>
      execute({ ...place, step: "wake up", level: 1 }, { attempt, ms: 1 }),
    );
    await step.sleep("nap", napMs);
    await step.run("stand up", ({ attempt }) =>
      execute({ ...place, step: "stand up", level: 2 }, { attempt, ms: 1 }),
    );
    return `${token} is up`;
  },
);

/** Waits for all of its children. */
export const family = defineAgent(
  { id: "family", input: z.object({ children: z.int().max(100), napMs: z.number() }) },
  async ({ input: { children, napMs }, step }) => {
    const names = Array.from({ length: children }, (_, index) => `child ${index}`);
    return await step.map("child", names, (token, branch) =>
      branch.step.invoke("raise", leaf, { token, napMs }),
    );
  },
);

/** Starts a run that lives on its own, and waits for something else. */
export const starter = defineAgent(
  { id: "starter", input: z.object({ token: z.string(), napMs: z.number() }) },
  async ({ input, step }) => {
    const started = await step.start("let go", leaf, input);
    await step.waitForSignal("go on?", { signal: "go" });
    return started;
  },
);

/** Fails until the file `mended` is there. */
export const fragile = defineAgent(
  { id: "fragile", input: z.object({ token: z.string(), mended: z.string() }) },
  async ({ input: { token, mended }, step, run }) =>
    await step.run("break", ({ attempt }) =>
      executeOnceMended({ run: run.id, token, step: "break", level: 1 }, { attempt, mended }),
    ),
);

/** Two children at once, of which one fails until the file `mended` is there. */
export const uneven = defineAgent(
  { id: "uneven", input: z.object({ mended: z.string() }) },
  async ({ input: { mended }, step }) =>
    await Promise.all([
      step.invoke("steady", leaf, { token: "steady", napMs: 3_000 }),
      step.invoke("fragile", fragile, { token: "fragile", mended }),
    ]),
);
