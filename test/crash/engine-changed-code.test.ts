import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { historyWith, KilledWorker, runWith } from "../support/killed-worker.ts";
import { logLines } from "../../scripts/dev/log-lines.ts";
import { projectFolder } from "../../scripts/dev/project-folder.ts";

let worker: KilledWorker;
beforeAll(async () => {
  worker = await KilledWorker.open();
});
afterAll(() => worker.close());

/** An agents' folder whose one agent reserves under that name, waits, and charges. */
async function agentsWith(version: string, reserve: string): Promise<{ HOLDFAST_AGENTS: string }> {
  const folder = join(worker.folder, version);
  await mkdir(folder);
  await writeFile(
    join(folder, "order.ts"),
    `import { defineAgent } from ${JSON.stringify(pathToFileURL(join(projectFolder, "app/index.ts")).href)};
const input = { "~standard": { version: 1, vendor: "test", validate: (value: unknown) => ({ value }) } } as const;
export const order = defineAgent({ id: "order", input }, async ({ step }) => {
  const reserved = await step.run("${reserve}", () => "reserved by ${version}");
  await step.waitForSignal("go on?", { signal: "go" });
  return [reserved, await step.run("charge", () => "charged by ${version}")];
});
`,
  );
  return { HOLDFAST_AGENTS: folder };
}

test("code that no longer matches a run's history pauses the run and says how; mended, it goes on when it is resumed", async () => {
  const first = await agentsWith("v1", "reserve");
  await worker.start(first);
  let client = await worker.client("order");
  const { body: run } = await client.start("order", {});
  const before = await historyWith(client, run.id, "signal.waiting");

  await worker.dieAndReturn(await agentsWith("v2", "hold"));
  client = await worker.client("order");
  await client.signal(run.id, "go", { payload: null });
  const { error } = await runWith(client, run.id, "paused");
  expect(error?.name).toBe("MismatchError");
  expect(error?.message).toContain('step "hold"');
  expect(error?.message).toContain('step "reserve"');
  expect(error?.message).toContain("row 2");
  const told = (await client.history(run.id)).body.items;
  expect(told.slice(0, before.length)).toEqual(before);
  expect(told.at(-1)).toMatchObject({ kind: "run.paused", data: { reason: "mismatch", error } });
  const logged = worker.life.log.find(({ msg }) => msg === error?.message);
  // So `npm run dev` shows it.
  expect(logLines({ pretty: false })(JSON.stringify(logged))).toMatch(
    /A RUN WAS PAUSED[^]*asks for step "hold"\n[^]*history has step "reserve"[^]*\/resume/,
  );

  await worker.dieAndReturn(first);
  client = await worker.client("order");
  expect((await client.run(run.id)).body.status).toBe("paused");
  expect((await client.control(run.id, "resume")).body).toMatchObject({ error: null });
  const done = await runWith(client, run.id, "completed");
  expect(done).toMatchObject({ output: ["reserved by v1", "charged by v1"], error: null });
}, 60_000);
