import { expect, test } from "vitest";
import type { RunContext } from "../../app/engine/agent.ts";
import { anyAgent } from "../support/agent.ts";
import { TestEngine } from "../support/engine.ts";

/** Steps by name that fail for good as long as they are in it. */
type Broken = Set<string>;

type Handler = (
  context: RunContext<unknown>,
  one: (name: string, ms?: number) => Promise<string>,
  wait: (ms: number) => Promise<void>,
) => Promise<unknown>;

/** Runs the agent until it has failed, with the steps that `broken` names. */
async function failed(handler: Handler, broken: Broken) {
  const called: string[] = [];
  const engine = await TestEngine.create([
    anyAgent(
      (context) =>
        handler(
          context,
          (name, ms = 0) =>
            context.step.run(name, async () => {
              called.push(name);
              await engine.clock.wait(ms);
              if (broken.has(name)) throw new Error(`${name} is broken`);
              return `${name} ${called.filter((each) => each === name).length}`;
            }),
          (ms) => engine.clock.wait(ms),
        ),
      { retry: { maxAttempts: 1 } },
    ),
  ]);
  const runId = await engine.start("agent");
  expect((await engine.finish(runId)).status).toBe("failed");
  const again = async () => {
    called.length = 0;
    await engine.engine.retry(runId);
    return await engine.finish(runId);
  };
  return { engine, runId, called, again };
}

/** Awaits all, then throws what the first that failed has thrown. */
async function allOf(calls: readonly Promise<unknown>[]): Promise<unknown[]> {
  const settled = await Promise.allSettled(calls);
  return settled.map((each) => {
    if (each.status === "rejected") throw each.reason;
    return each.value;
  });
}

/** As `allOf`, with an error of its own. */
async function countFailures(calls: readonly Promise<unknown>[]): Promise<unknown[]> {
  const settled = await Promise.allSettled(calls);
  const rejected = settled.filter(({ status }) => status === "rejected");
  if (rejected.length > 0) throw new Error(`${rejected.length} of ${calls.length} failed`);
  return settled.map((each) => (each.status === "fulfilled" ? each.value : null));
}

const twice: Handler = async (_context, one) =>
  await allOf([
    one("a", 5),
    (async () => [await one("b", 10), await one("c", 10)])(),
    (async () => [await one("d", 1), await one("e", 30)])(),
  ]);

test("a retry makes the failed call anew, and no branch that went on beside it", async () => {
  const broken = new Set(["a"]);
  const { called, again } = await failed(twice, broken);
  broken.clear();
  expect(await again()).toMatchObject({
    status: "completed",
    output: ["a 1", ["b 1", "c 1"], ["d 1", "e 1"]],
  });
  expect(called).toEqual(["a"]);
});

test("a retry of a map makes the failed branch's call anew, and what came of it, and no other branch", async () => {
  const broken = new Set(["work 1"]);
  const worked: string[] = [];
  const { again } = await failed(
    async ({ step }) =>
      await step.map("all", [0, 1, 2], async (item, branch) => {
        try {
          return await branch.step.run("work", () => {
            worked.push(`work ${item}`);
            if (broken.has(`work ${item}`)) throw new Error("broken");
            return item;
          });
        } finally {
          await branch.step.run("after", () => void worked.push(`after ${item}`));
        }
      }),
    broken,
  );
  expect(worked.toSorted()).toEqual(["after 0", "after 1", "after 2", "work 0", "work 1", "work 2"]);
  broken.clear();
  worked.length = 0;
  expect(await again()).toMatchObject({ status: "completed", output: [0, 1, 2] });
  expect(worked).toEqual(["work 1", "after 1"]);
});

test("a retry starts the child that failed anew, and no other", async () => {
  const started: unknown[] = [];
  let broken = true;
  const child = anyAgent(
    async ({ input, step }) => {
      await step.run("work", () => {
        started.push(input);
        if (input === "a" && broken) throw new Error("broken");
      });
      return input;
    },
    { id: "child", retry: { maxAttempts: 1 } },
  );
  const engine = await TestEngine.create([
    child,
    anyAgent(async ({ step }) =>
      allOf([
        step.invoke("a", child, "a"),
        step.sleep("a while", 5).then(() => step.invoke("b", child, "b")),
        step.invoke("c", child, "c"),
      ]),
    ),
  ]);
  const runId = await engine.start("agent");
  expect((await engine.finish(runId)).status).toBe("failed");
  broken = false;
  started.length = 0;
  await engine.engine.retry(runId);
  expect(await engine.finish(runId)).toMatchObject({ status: "completed", output: ["a", "b", "c"] });
  expect(started).toEqual(["a"]);
});

test("a retry of calls that were made one after the other goes on at once", async () => {
  const broken = new Set(["b"]);
  const { engine, runId, called, again } = await failed(
    async (_context, one) => [await one("a"), await one("b"), await one("c")],
    broken,
  );
  broken.clear();
  const rows = await engine.rows(runId);
  expect(await again()).toMatchObject({ status: "completed", output: ["a 1", "b 1", "c 1"] });
  expect(called).toEqual(["b", "c"]);
  const added = (await engine.rows(runId)).slice(rows.length);
  expect(added).toEqual(["run.retried", "step.completed b#1", "step.completed c#1", "run.completed"]);
});

test("what the code came to only by the failure is made anew, or not at all", async () => {
  const broken = new Set(["a"]);
  const handler: Handler = async (_context, one) => {
    const a = one("a").catch(async (error: unknown) => {
      await one("report", 5);
      throw error;
    });
    return await allOf([a, one("b", 20)]);
  };
  const { called, again, engine, runId } = await failed(handler, broken);
  expect(await again()).toMatchObject({ status: "failed" });
  expect(called).toEqual(["a", "report"]);
  broken.clear();
  expect(await again()).toMatchObject({ status: "completed", output: ["a 1", "b 1"] });
  expect(called).toEqual(["a"]);
  expect(await engine.rows(runId)).not.toContain("run.paused");
});

test("a call that rested on the failure is not answered by what it gave then", async () => {
  const broken = new Set(["a"]);
  const handler: Handler = async ({ step }, one) => {
    const a = await one("a").catch(() => null);
    const sum = await step.run("sum", () => `sum of ${a}`);
    if (a === null) throw new Error("a is missing");
    return sum;
  };
  const { again } = await failed(handler, broken);
  broken.clear();
  expect(await again()).toMatchObject({ status: "completed", output: "sum of a 1" });
});

test.each([
  ["that the code throws on", allOf],
  ["that the code counts", countFailures],
])(
  "all failures of the last calls %s are made anew, and nothing that was completed among them",
  async (_what, join) => {
    const names = ["a", "b", "c", "d", "e", "f", "g"];
    const broken = new Set(["b", "d", "e"]);
    const handler: Handler = async (_context, one) =>
      await join(names.map((name, index) => one(name, index)));
    const { called, again } = await failed(handler, broken);
    broken.clear();
    expect(await again()).toMatchObject({ status: "completed", output: names.map((name) => `${name} 1`) });
    expect(called).toEqual(["b", "d", "e"]);
  },
);

test("a failure that the code went on from is not repeated by a retry for another reason", async () => {
  const broken = new Set(["primary", "last"]);
  const handler: Handler = async ({ step }, one) => {
    const first = await one("primary").catch(() => one("fallback"));
    await step.sleep("rest", "1h");
    return [first, await one("last")];
  };
  const { called, again } = await failed(handler, broken);
  broken.clear();
  expect(await again()).toMatchObject({ status: "completed", output: ["fallback 1", "last 1"] });
  expect(called).toEqual(["last"]);
});

test("a run that its own code failed, mended since, goes on from where it was, whatever it caught before", async () => {
  const broken = new Set(["primary"]);
  let mended = false;
  const handler: Handler = async (_context, one) => {
    const first = await one("primary").catch(() => one("fallback"));
    if (!mended) throw new TypeError("a mistake in the code");
    return [first, await one("last")];
  };
  const { called, again } = await failed(handler, broken);
  mended = true;
  expect(await again()).toMatchObject({ status: "completed", output: ["fallback 1", "last 1"] });
  expect(called).toEqual(["last"]);
});

test("a retry after which the code would fail again without a call makes the failure before it anew", async () => {
  const broken = new Set(["a"]);
  const handler: Handler = async (_context, one) => {
    const a = await one("a").catch(() => null);
    await one("report");
    if (a === null) throw new Error("a has failed");
    return a;
  };
  const { called, again } = await failed(handler, broken);
  broken.clear();
  expect(await again()).toMatchObject({ status: "completed", output: "a 1" });
  expect(called).toEqual(["a", "report"]);
});

test("parallel code that shares a name with what came of the failure does not get its result", async () => {
  const broken = new Set(["a"]);
  const handler: Handler = async ({ step }, one, wait) => {
    const save = async (what: string, ms: number): Promise<string> =>
      await step.run("save", async () => {
        await wait(ms);
        return what;
      });
    const a = one("a").catch(async (error: unknown) => {
      await save("of the failure", 30);
      throw error;
    });
    return await allOf([a, one("b", 10).then(() => save("of b", 5))]);
  };
  const { again } = await failed(handler, broken);
  broken.clear();
  expect(await again()).toMatchObject({ status: "completed", output: ["a 1", "of b"] });
});

test("waits that were under way go on as they were recorded", async () => {
  const broken = new Set(["a"]);
  const handler: Handler = async ({ step }, one) => {
    await one("begin");
    return await Promise.all([one("a"), step.sleep("long", 60_000).then(() => step.now())]);
  };
  const { engine, runId, again } = await failed(handler, broken);
  const started = (await engine.history(runId)).find(({ kind }) => kind === "sleep.started");
  broken.clear();
  await engine.advance(40_000);
  await again();
  expect(engine.clock.now()).toBe((started?.at ?? 0) + 60_000);
});

test("code that was changed before the failure still does not match after a retry", async () => {
  const broken = new Set(["a"]);
  const { engine, runId } = await failed(
    async (_context, one) => [await one("first"), await one("a")],
    broken,
  );
  await engine.reopen({ agents: [anyAgent(async ({ step }) => await step.run("other", () => 1))] });
  await engine.engine.retry(runId);
  const run = await engine.finish(runId);
  expect(run.status).toBe("paused");
  expect(run.error?.message).toMatch(/history has step "first"/);
});

test("a fork without a step to fork from runs only the failed call anew, as a retry does", async () => {
  const broken = new Set(["a"]);
  const { engine, runId, called } = await failed(twice, broken);
  broken.clear();
  called.length = 0;
  const fork = await engine.engine.fork(runId);
  expect(await engine.finish(fork.id)).toMatchObject({
    status: "completed",
    output: ["a 1", ["b 1", "c 1"], ["d 1", "e 1"]],
  });
  expect(called).toEqual(["a"]);
});

test("a retry from a named step makes anew what came after it in history, parallel branches too", async () => {
  const broken = new Set(["a"]);
  const { engine, runId, called } = await failed(twice, broken);
  broken.clear();
  called.length = 0;
  await engine.engine.retry(runId, { name: "a" });
  expect(await engine.finish(runId)).toMatchObject({ status: "completed" });
  expect(called.toSorted()).toEqual(["a", "b", "c", "e"]);
});

test("a retry that is killed after any row goes on as it would have", async () => {
  const broken = new Set(["a"]);
  const handler: Handler = async (_context, one) => {
    const a = async (): Promise<string> => {
      try {
        return await one("a", 5);
      } catch (error) {
        await one("report", 1);
        throw error;
      }
    };
    return await allOf([a(), (async () => [await one("b", 10), await one("c", 10)])(), one("d", 12)]);
  };
  const { engine, runId, called, again } = await failed(handler, broken);
  broken.clear();
  const { output } = await again();
  expect(called).toEqual(["a"]);
  const rows = await engine.history(runId);
  const retriedAt = rows.findIndex(({ kind }) => kind === "run.retried") + 1;
  for (let seq = rows.length - 1; seq >= retriedAt; seq -= 1) {
    called.length = 0;
    await engine.reopen({ lostAfter: { runId, seq } });
    expect(await engine.finish(runId)).toMatchObject({ status: "completed", output });
    const madeBefore = rows.slice(retriedAt, seq).some(({ kind }) => kind === "step.completed");
    expect(called).toEqual(madeBefore ? [] : ["a"]);
    expect((await engine.history(runId)).map(({ kind }) => kind)).toEqual(rows.map(({ kind }) => kind));
  }
});
