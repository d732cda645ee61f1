import { afterEach, beforeEach, expect, test } from "vitest";
import type { Agent } from "../../app/engine/agent.ts";
import type { WorkerHost } from "../../app/host/worker-host.ts";
import { CrashNotes } from "../../app/storage/crash-notes.ts";
import { agentOf, hosted, HostWorkspace } from "../support/host.ts";
import { until } from "../support/litestream.ts";

let workspace: HostWorkspace;
let notes: CrashNotes;
const waits: Agent = agentOf("waits", async ({ step }) => {
  const go = await step.waitForSignal("go?", { signal: "go" });
  await step.run("after", () => {});
  return go?.payload;
});

beforeEach(async () => {
  workspace = await HostWorkspace.open();
  notes = new CrashNotes(workspace.store, workspace.tenants.dataFolder, "acme");
});
afterEach(() => workspace.close());

/** A run that waits, and its host's end. Gives the run's last row. */
async function runThatWaits(): Promise<{ readonly id: string; readonly seq: number }> {
  const host = await workspace.host({ agents: [waits] });
  const found = await host.use("acme", async (tenant) => {
    const { run } = await tenant.runs.start({ agent: "waits", input: null });
    const { journal } = hosted(tenant);
    await until("it waits", async () => (await journal.run(run.id))?.status === "waiting");
    await tenant.durable();
    return { id: run.id, seq: await journal.lastSeq(run.id) };
  });
  await workspace.kill(host);
  return found;
}

async function crash(run: { readonly id: string; readonly seq: number }, times: number): Promise<void> {
  const report = { reason: "standstill", at: Date.now(), agent: "waits", error: null, where: [] } as const;
  for (let n = 0; n < times; n += 1) await notes.leave(run, report);
}

async function statusOf(host: WorkerHost, runId: string): Promise<string> {
  return await host.use("acme", async (tenant) => (await tenant.runs.get(runId)).status);
}

test("a run with two crashes goes on, and both still count", async () => {
  const run = await runThatWaits();
  await crash(run, 2);
  const host = await workspace.host({ agents: [waits] });
  expect(await statusOf(host, run.id)).toBe("waiting");
  expect(await notes.list()).toHaveLength(2);
});

test("a run with three crashes is paused with the reason, and resumed it has three more", async () => {
  const run = await runThatWaits();
  await crash(run, 3);
  const host = await workspace.host({ agents: [waits] });
  const paused = await host.use("acme", async ({ runs }) => await runs.get(run.id));
  expect(paused).toMatchObject({ status: "paused", wakeAt: null, error: { name: "CrashLoopError" } });
  expect(paused.error?.message).toContain("3 times without progress");
  await until("the notes are gone", async () => (await notes.list()).length === 0);

  await host.use("acme", async (tenant) => {
    await tenant.runs.resume(run.id);
    await tenant.durable();
  });
  const lastSeq = await host.use("acme", (tenant) => hosted(tenant).journal.lastSeq(run.id));
  await workspace.kill(host);
  await crash({ id: run.id, seq: lastSeq }, 2);
  const next = await workspace.host({ agents: [waits] });
  await until("it waits again", async () => (await statusOf(next, run.id)) === "waiting");
});

test("a pause that is lost with the disk before it is durable is made again", async () => {
  const run = await runThatWaits();
  await crash(run, 3);
  const host = await workspace.host({ agents: [waits] });
  const looking = workspace.store.hold("list", "crashes/");
  const opened = host.use("acme", async () => {});
  await looking.arrived;
  // Nothing becomes durable without a proof.
  const proving = workspace.store.hold("get", `hosts/${host.id}`);
  looking.letThrough();
  await opened;
  expect(await statusOf(host, run.id)).toBe("paused");
  await proving.arrived;
  await workspace.kill(host);
  proving.letThrough();
  await workspace.wipe();
  expect(await notes.list()).toHaveLength(3);
  const next = await workspace.host({ agents: [waits] });
  expect(await statusOf(next, run.id)).toBe("paused");
});

test("the notes of a run that has made progress since, has ended or is not there are deleted", async () => {
  const run = await runThatWaits();
  await crash({ id: run.id, seq: run.seq - 1 }, 3);
  await crash({ id: "gone", seq: 4 }, 1);
  const host = await workspace.host({ agents: [waits] });
  expect(await statusOf(host, run.id)).toBe("waiting");
  await until("the notes are gone", async () => (await notes.list()).length === 0);
});

test("a tenant that was given away properly is opened without a look for crashes", async () => {
  const host = await workspace.host({ agents: [waits] });
  await host.use("acme", async () => {});
  await host.drain();
  const before = workspace.store.count("list", "crashes/");
  const next = await workspace.host({ agents: [waits] });
  await next.use("acme", async () => {});
  expect(workspace.store.count("list", "crashes/")).toBe(before);
});
