import { expect, test } from "vitest";
import * as z from "zod";
import { defineAgent, type Agent } from "../../app/engine/agent.ts";
import {
  IdempotencyConflictError,
  InvalidInputError,
  RunNotFoundError,
  UnknownAgentError,
} from "../../app/engine/errors.ts";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";

test("fifty starts with one key at the same time make one run", async () => {
  let executions = 0;
  const engine = await TestEngine.create([anyAgent(() => void (executions += 1))]);
  const answers = await Promise.all(
    Array.from({ length: 50 }, () =>
      engine.engine.start({ agent: "agent", input: { a: 1 }, idempotencyKey: "k" }),
    ),
  );
  expect(new Set(answers.map(({ run }) => run.id)).size).toBe(1);
  expect(answers.filter(({ created }) => created)).toHaveLength(1);
  await engine.settle();
  expect(executions).toBe(1);
  expect(await engine.engine.list({ limit: 10 })).toHaveLength(1);
});

test("a key holds over restarts and after the run's end", async () => {
  const engine = await TestEngine.create([anyAgent(() => "done")]);
  const request = { agent: "agent", input: { a: 1, b: { c: 2, d: [3] } }, idempotencyKey: "k" };
  const { run } = await engine.engine.start(request);
  await engine.finish(run.id);
  await engine.reopen();
  const again = await engine.engine.start(request);
  expect(again).toMatchObject({ created: false, run: { id: run.id, status: "completed", output: "done" } });
});

test("the order of keys inside the input does not make it another request, anything else does", async () => {
  const engine = await TestEngine.create([anyAgent(() => 1), anyAgent(() => 2, { id: "other" })]);
  const request = { agent: "agent", input: { a: 1, b: { c: 2, d: [3, 4] } }, idempotencyKey: "k" };
  const { run } = await engine.engine.start(request);
  const reordered = await engine.engine.start({ ...request, input: { b: { d: [3, 4], c: 2 }, a: 1 } });
  expect(reordered).toMatchObject({ created: false, run: { id: run.id } });
  const others = [
    { ...request, input: { a: 1, b: { c: 2, d: [4, 3] } } },
    { ...request, input: null },
    { ...request, agent: "other" },
    { ...request, delayMs: 5 },
    { ...request, durability: "replicated" as const },
  ];
  for (const other of others)
    await expect(engine.engine.start(other)).rejects.toThrow(IdempotencyConflictError);
  expect(await engine.engine.list({ limit: 10 })).toHaveLength(1);
});

test("input that the schema refuses changes nothing and says where it is wrong", async () => {
  const agent = defineAgent(
    { id: "strict", input: z.object({ names: z.array(z.string()) }) },
    () => 1,
  ) as unknown as Agent;
  const engine = await TestEngine.create([agent]);
  const { commits } = engine.connection;
  const refused = engine.engine.start({ agent: "strict", input: { names: ["a", 2] } });
  await expect(refused).rejects.toThrow(InvalidInputError);
  await expect(refused).rejects.toMatchObject({ code: "invalid_input", issues: [{ path: "names.1" }] });
  await expect(engine.engine.start({ agent: "nobody", input: 1 })).rejects.toThrow(UnknownAgentError);
  await expect(engine.engine.get("nobody")).rejects.toThrow(RunNotFoundError);
  await expect(engine.engine.signal("nobody", { name: "go", payload: 1 })).rejects.toThrow(RunNotFoundError);
  await expect(engine.engine.history("nobody", { after: 0, limit: 1 })).rejects.toThrow(RunNotFoundError);
  expect(engine.connection.commits).toBe(commits);
});

test("an agent gets what its schema makes of the input, the same after a restart", async () => {
  const seen: unknown[] = [];
  const agent = defineAgent(
    { id: "agent", input: z.object({ n: z.coerce.number().default(7) }) },
    async ({ input, step }) => {
      seen.push(input);
      await step.sleep("rest", "1h");
    },
  ) as unknown as Agent;
  const engine = await TestEngine.create([agent]);
  const runId = await engine.start("agent", {});
  await engine.reopen();
  await engine.finish(runId);
  expect(seen).toEqual([{ n: 7 }, { n: 7 }]);
});

test("input that has no JSON form is refused", async () => {
  const engine = await TestEngine.create([anyAgent(() => 1)]);
  await expect(engine.engine.start({ agent: "agent", input: 1n })).rejects.toThrow(InvalidInputError);
  expect(await engine.engine.list({ limit: 1 })).toEqual([]);
});
