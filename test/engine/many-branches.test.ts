import { expect, test } from "vitest";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";

const branches = 12_000;

test(
  "a map of more steps than the file's queue holds does each once, and none waits for room",
  { timeout: 120_000 },
  async () => {
    let calls = 0;
    const items = Array.from({ length: branches }, (_none, index) => index);
    const engine = await TestEngine.create([
      anyAgent(async ({ step }) => {
        const all = await step.map("map", items, (_item, branch) => branch.step.run("one", () => ++calls));
        return all.length;
      }),
    ]);
    const { run } = await engine.engine.start({ agent: "agent", input: null });
    const ended = await engine.engine.ended(run.id, 60_000);
    expect(ended).toMatchObject({ status: "completed", output: branches });
    expect(calls).toBe(branches);
    expect(engine.log).toEqual([]);
  },
);
