import { afterEach, beforeEach, expect, test } from "vitest";
import { WorkerPlace } from "../support/worker.ts";
import { FlyMachine, type MachineOptions } from "./machine.ts";

let place: WorkerPlace;
let machines: FlyMachine[];
beforeEach(async () => {
  place = await WorkerPlace.open({});
  machines = [];
});
afterEach(async () => {
  for (const machine of machines) await machine.destroy();
  await place.close();
});

interface Told {
  readonly machine: string;
  readonly isFresh: boolean;
  readonly environment: Readonly<Record<string, string>>;
}

async function create(
  options: Partial<MachineOptions> = {},
  environment: Record<string, string> = {},
): Promise<FlyMachine> {
  const machine = await FlyMachine.create({
    appName: "kelp",
    region: "fra",
    folder: place.folder,
    launch: (own) => place.launch({ ...own, ...environment }, "test/fly/plain-process.ts"),
    ...options,
  });
  machines.push(machine);
  return machine;
}

async function ask(machine: FlyMachine, path = "/"): Promise<Told> {
  const answer = await fetch(`${machine.url}${path}`, { signal: AbortSignal.timeout(5_000) });
  return (await answer.json()) as Told;
}

async function started(machine: FlyMachine): Promise<FlyMachine> {
  await machine.start();
  await machine.life.first("listening");
  return machine;
}

test("a Machine gives its process Fly's environment, and each has an id, a port and a disk of its own", async () => {
  const [one, two] = [await create(), await create({ region: "syd" })];
  expect(one.state).toBe("created");
  await Promise.all([started(one), started(two)]);
  expect((await ask(one)).environment).toMatchObject({
    FLY_APP_NAME: "kelp",
    FLY_MACHINE_ID: one.id,
    FLY_REGION: "fra",
    FLY_PRIVATE_IP: "::1",
    HOLDFAST_ADVERTISE: one.url,
  });
  expect((await ask(two)).environment).toMatchObject({ FLY_MACHINE_ID: two.id, FLY_REGION: "syd" });
  expect([one.state, two.state]).toEqual(["started", "started"]);
  expect(two.dataFolder).not.toBe(one.dataFolder);
});

test("a stop sends the kill signal, ends every process and leaves a fresh disk for the next start", async () => {
  const machine = await started(await create({ killSignal: "SIGTERM" }));
  const processes = machine.processes();
  expect(processes).toHaveLength(2);
  await machine.stop();
  expect(machine.state).toBe("stopped");
  expect(machine.life.events("signal")).toMatchObject([{ signal: "SIGTERM" }]);
  expect(machine.processes()).toEqual([]);
  await started(machine);
  expect((await ask(machine)).isFresh).toBe(true);
  expect(machine.lives).toHaveLength(2);
});

test("a process that does not heed the kill signal is ended after the kill timeout", async () => {
  const machine = await started(await create({ killTimeoutMs: 300 }, { STUBBORN: "yes" }));
  const stopping = machine.stop();
  expect(machine.state).toBe("stopping");
  await expect(machine.start()).rejects.toThrow(/stopping and cannot be started/);
  await stopping;
  expect(machine.life.events("signal")).toMatchObject([{ signal: "SIGINT" }]);
  expect(await machine.life.exited).toMatchObject({ code: null, signal: "SIGKILL" });
});

test("a process that exits 0 stays stopped, one that fails is started again on a fresh disk, up to the retries", async () => {
  const machine = await started(await create({ restarts: 1 }));
  await ask(machine, "/exit?code=1").catch(() => {});
  await machine.reaches("restarting");
  await machine.reaches("started");
  await machine.life.first("listening");
  expect((await ask(machine)).isFresh).toBe(true);
  await ask(machine, "/exit?code=3").catch(() => {});
  await machine.reaches("stopped");
  expect(machine.lives).toHaveLength(2);

  await started(machine);
  await ask(machine, "/exit?code=0").catch(() => {});
  await machine.reaches("stopped");
  expect(machine.lives).toHaveLength(3);
});

test("a crash ends all processes at once and is followed by a restart", async () => {
  const machine = await started(await create());
  await machine.crash();
  await machine.reaches("started");
  await machine.life.first("listening");
  expect(machine.lives).toHaveLength(2);
  expect(machine.processes()).toHaveLength(2);
});

test("a suspended Machine answers nothing, and goes on with its disk and its memory when it is started", async () => {
  const machine = await started(await create());
  const before = machine.processes();
  await machine.suspend();
  const answer = ask(machine);
  const early = await Promise.race([
    answer,
    new Promise((resolve) => {
      setTimeout(resolve, 300, "nothing");
    }),
  ]);
  expect([machine.state, early]).toEqual(["suspended", "nothing"]);
  await machine.start();
  expect((await answer).machine).toBe(machine.id);
  expect(machine.processes()).toEqual(before);
  expect(machine.lives).toHaveLength(1);
});

test("a suspended Machine that is stopped loses what it had", async () => {
  const machine = await started(await create());
  await machine.suspend();
  await machine.stop();
  expect([machine.state, machine.processes()]).toEqual(["stopped", []]);
  await started(machine);
  expect((await ask(machine)).isFresh).toBe(true);
});
