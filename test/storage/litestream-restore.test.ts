import { chmod, readdir, stat, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ReplicaMissingError, RestoreError, restoreReplica } from "../../app/storage/litestream-restore.ts";
import type { Litestream } from "../../app/storage/litestream.ts";
import {
  litestreamBinary,
  LitestreamWorkspace,
  openNotes,
  readNotes,
  writeNote,
} from "../support/litestream.ts";

const timeout = 60_000;
let workspace: LitestreamWorkspace;
let litestream: Litestream;

beforeAll(async () => {
  workspace = await LitestreamWorkspace.open();
  litestream = await workspace.supervise();
}, timeout);

afterAll(async () => {
  await workspace.close();
}, timeout);

function restore(
  replicaUrl: string,
  outputPath: string,
  options: { binary?: string; timeoutMs?: number; txid?: number } = {},
) {
  const defaults = {
    binary: litestreamBinary(),
    environment: process.env,
    log: workspace.log,
    timeoutMs: timeout,
  };
  return restoreReplica({ ...defaults, replicaUrl, outputPath, ...options });
}

async function replicate(name: string) {
  const path = workspace.path(`${name}.db`);
  const replicaUrl = workspace.replicaUrl(name);
  const database = openNotes(path);
  writeNote(database, "first");
  await litestream.control.register({ path, replicaUrl });
  const first = await litestream.control.sync({ path, timeoutSeconds: 10 });
  const notesAtFirst = readNotes(database);
  writeNote(database, "second");
  const last = await litestream.control.sync({ path, timeoutSeconds: 10 });
  await litestream.control.unregister({ path, timeoutSeconds: 10 });
  return { database, replicaUrl, first, last, notesAtFirst };
}

test("a restored file equals its source", { timeout }, async () => {
  const { database, replicaUrl, last } = await replicate("equal");
  const outputPath = workspace.path("equal-restored.db");
  const { txid } = await restore(replicaUrl, outputPath);
  expect(txid).toBeGreaterThanOrEqual(last.replicatedTxid);
  expect(readNotes(openNotes(outputPath))).toEqual(readNotes(database));
});

test("a restore by txid has what was there then, and no more", { timeout }, async () => {
  const { replicaUrl, first, notesAtFirst } = await replicate("by-txid");
  const outputPath = workspace.path("by-txid-restored.db");
  expect(await restore(replicaUrl, outputPath, { txid: first.txid })).toEqual({ txid: first.txid });
  expect(readNotes(openNotes(outputPath))).toEqual(notesAtFirst);
  const tooFar = restore(replicaUrl, workspace.path("too-far.db"), { txid: 1_000 });
  await expect(tooFar).rejects.toThrow("no backup that leads up to txid 1000");
});

test("a replica that has nothing is missing, not empty", { timeout }, async () => {
  const outputPath = workspace.path("missing.db");
  await expect(restore(workspace.replicaUrl("missing"), outputPath)).rejects.toThrow(ReplicaMissingError);
  await expect(stat(outputPath)).rejects.toThrow("ENOENT");
});

test("an existing file is never overwritten", { timeout }, async () => {
  const { replicaUrl } = await replicate("kept");
  const outputPath = workspace.path("empty-but-mine.db");
  await writeFile(outputPath, "");
  await expect(restore(replicaUrl, outputPath)).rejects.toThrow(/exists already/);
  expect((await stat(outputPath)).size).toBe(0);
});

test("a restore that fails says it in Litestream's words", { timeout }, async () => {
  const occupied = workspace.path("occupied");
  await writeFile(occupied, "a file where a folder is needed");
  const failed = restore(`file://${occupied}/replica`, workspace.path("failed.db"));
  await expect(failed).rejects.toThrow(/not a directory/);
  await expect(failed).rejects.not.toThrow(ReplicaMissingError);
});

test.each([
  ["is killed", "kill -9 $$", true],
  ["meets a full disk", 'echo "write: no space left on device" >&2; exit 1', true],
  ["does not reach the store", 'echo "dial tcp 127.0.0.1:1: connect: connection refused" >&2; exit 1', true],
  ["finds a gap", 'echo "cannot calc restore plan: non-contiguous ltx files" >&2; exit 1', false],
])(
  "a restore that %s tells of that, and not of the replica unless it does",
  { timeout },
  async (what, words, isPassing) => {
    const binary = workspace.path(`litestream that ${what}`);
    await writeFile(binary, `#!/bin/sh\n${words}\n`);
    await chmod(binary, 0o755);
    const failed = restore("file:///nowhere", workspace.path(`${what}.db`), { binary });
    await expect(failed).rejects.toMatchObject({ name: "RestoreError", isPassing });
  },
);

test("a damaged replica leaves no file behind", { timeout }, async () => {
  const { replicaUrl } = await replicate("damaged");
  const level = `${replicaUrl.slice("file://".length)}/ltx/0`;
  for (const name of await readdir(level)) await writeFile(`${level}/${name}`, Buffer.alloc(4_096, 7));
  const outputPath = workspace.path("damaged-restored.db");
  await expect(restore(replicaUrl, outputPath)).rejects.toThrow(RestoreError);
  expect((await readdir(workspace.folder)).filter((name) => name.startsWith("damaged-restored"))).toEqual([]);
});

test("a restore that hangs is ended in time, with all that it started", { timeout }, async () => {
  const binary = workspace.path("hanging-litestream");
  await writeFile(binary, "#!/bin/sh\nsleep 600\n");
  await chmod(binary, 0o755);
  const hanging = restore("file:///nowhere", workspace.path("never.db"), { binary, timeoutMs: 300 });
  await expect(hanging).rejects.toThrow("longer than 300 ms");
});
