import { mkdtemp, readdir, rm, writeFile, mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { CrashNotes, type CrashReport } from "../../app/storage/crash-notes.ts";
import { DirectoryStore } from "../../app/storage/directory-store.ts";
import { StoreUnavailableError } from "../../app/storage/object-store.ts";
import { unreleasedTenants } from "../../app/storage/data-folder.ts";
import { FaultyStore } from "../fakes/faulty-store.ts";

const report: CrashReport = {
  reason: "exception",
  at: 1_800_000_000_000,
  agent: "publish",
  error: "RangeError",
  where: ["draft (publish.ts:12:5)"],
};

let folder: string;
let dataFolder: string;
let store: FaultyStore;
let notes: CrashNotes;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "holdfast-crash-notes-"));
  dataFolder = join(folder, "data");
  await mkdir(dataFolder);
  store = new FaultyStore(new DirectoryStore(join(folder, "store")));
  notes = new CrashNotes(store, dataFolder, "acme");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("a note is found once, with the run and its last row, although it lies in two places", async () => {
  await notes.leave({ id: "run-1", seq: 7 }, report);
  const [note, ...more] = await notes.list();
  expect(note).toMatchObject({ runId: "run-1", seq: 7 });
  expect(more).toEqual([]);
  expect(await store.list("crashes/")).toEqual([`crashes/acme/${note?.name}`]);
});

test("the notes of a run are listed in the order of its crashes", async () => {
  for (const seq of [9, 1, 5]) await notes.leave({ id: "run-1", seq }, report);
  expect((await notes.list()).map(({ seq }) => seq)).toEqual([9, 1, 5]);
});

test("a note survives the disk", async () => {
  await notes.leave({ id: "run-1", seq: 7 }, report);
  await rm(dataFolder, { recursive: true });
  const [note] = await notes.list();
  expect(note).toMatchObject({ runId: "run-1", seq: 7 });
  expect(note && (await notes.read(note))).toEqual(report);
});

test("a note that the store did not take is kept on the disk, and the failure is told", async () => {
  store.down = true;
  await expect(notes.leave({ id: "run-1", seq: 7 }, report)).rejects.toThrow(StoreUnavailableError);
  store.down = false;
  const [note] = await notes.list();
  expect(note).toMatchObject({ runId: "run-1", seq: 7 });
  expect(note && (await notes.read(note))).toEqual(report);
});

test("a note that the disk did not take is in the store, and the failure is told", async () => {
  await rm(dataFolder, { recursive: true });
  await writeFile(dataFolder, "no folder");
  await expect(notes.leave({ id: "run-1", seq: 7 }, report)).rejects.toThrow(/ENOTDIR|EEXIST/);
  expect(await store.list("crashes/acme/run-1/")).toHaveLength(1);
});

test("removed notes are gone from both places, others stay", async () => {
  await notes.leave({ id: "run-1", seq: 7 }, report);
  await notes.leave({ id: "run-2", seq: 1 }, report);
  await notes.remove((await notes.list()).filter(({ runId }) => runId === "run-1"));
  expect((await notes.list()).map(({ runId }) => runId)).toEqual(["run-2"]);
  expect(await readdir(join(dataFolder, "acme/crashes/run-1"))).toEqual([]);
});

test("another tenant's notes, and what is no note, are not counted", async () => {
  await new CrashNotes(store, dataFolder, "acme-two").leave({ id: "run-1", seq: 7 }, report);
  await store.put("crashes/acme/run-1/no-note", "");
  await mkdir(join(dataFolder, "acme/crashes"), { recursive: true });
  await writeFile(join(dataFolder, "acme/crashes/stray"), "");
  expect(await notes.list()).toEqual([]);
});

test("a note that cannot be read says nothing of its crash, but counts", async () => {
  await notes.leave({ id: "run-1", seq: 7 }, report);
  const [note] = await notes.list();
  await writeFile(join(dataFolder, "acme/crashes", String(note?.name)), "torn {");
  expect(note && (await notes.read(note))).toBeUndefined();
  expect(await notes.list()).toHaveLength(1);
});

test("notes in the data folder are taken for no tenant's file", async () => {
  await notes.leave({ id: "run-1", seq: 7 }, report);
  expect(await unreleasedTenants(dataFolder)).toEqual([]);
});
