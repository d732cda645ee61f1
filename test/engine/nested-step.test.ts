import { expect, test } from "vitest";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";

test.each<[string, Parameters<typeof anyAgent>[0]]>([
  ["step.run", ({ step }) => step.run("outer", () => step.run("inner", () => "never"))],
  ["step.run, later", ({ step }) => step.run("outer", async () => (await turns(), step.sleep("inner", 1)))],
  ["step.tx", ({ step }) => step.tx("outer", () => step.run("inner", () => "never"))],
  [
    "a branch's step.run",
    ({ step }) =>
      step.map("map", [1], (_item, branch) =>
        branch.step.run("outer", () => step.waitForSignal("inner", { signal: "never" })),
      ),
  ],
])("a durable call inside the function of %s is refused, and its step fails at once", async (_what, code) => {
  const engine = await TestEngine.create([anyAgent(code)]);
  const runId = await engine.start("agent");
  const run = await engine.get(runId);
  expect(run.status).toBe("failed");
  expect(run.error?.message).toContain('Step "inner" was called inside the function of step "outer"');
  expect((await engine.history(runId)).filter(({ name }) => name === "inner")).toEqual([]);
  expect((await engine.rows(runId)).filter((row) => row.startsWith("step."))).toEqual([
    "step.failed outer#1",
  ]);
});

test("code outside of a step's function makes its calls while that runs, and after it has thrown", async () => {
  const engine = await TestEngine.create([
    anyAgent(
      async ({ step }) => {
        const release = Promise.withResolvers<void>();
        const slow = step.run("slow", async () => {
          await release.promise;
          throw new Error("no");
        });
        const fast = await step.run("fast", () => "fast");
        release.resolve();
        return [fast, await slow.catch(() => step.run("instead", () => "instead"))];
      },
      { retry: { maxAttempts: 1 } },
    ),
  ]);
  const runId = await engine.start("agent");
  expect(await engine.get(runId)).toMatchObject({ status: "completed", output: ["fast", "instead"] });
});

function turns(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}
