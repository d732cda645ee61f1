import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { connectLitestream, LitestreamError } from "../../app/storage/litestream-control.ts";
import type { Litestream } from "../../app/storage/litestream.ts";
import { LitestreamWorkspace, openNotes, writeNote } from "../support/litestream.ts";

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

async function failureOf(call: Promise<unknown>): Promise<LitestreamError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof LitestreamError) return error;
  throw new Error("The call was to fail with a LitestreamError", { cause: error });
}

test("registered databases are listed until they are unregistered", { timeout }, async () => {
  const path = workspace.path("listed.db");
  writeNote(openNotes(path), "here");
  const database = { path, replicaUrl: workspace.replicaUrl("listed") };
  expect(await litestream.control.register(database)).toBe("registered");
  expect(await litestream.control.register(database)).toBe("already_registered");
  expect(await litestream.control.list()).toContainEqual({ path, status: "replicating" });
  await litestream.control.unregister({ path, timeoutSeconds: 10 });
  expect((await litestream.control.list()).map((listed) => listed.path)).not.toContain(path);
});

test(
  "a wrong replica is registered all the same, and its sync fails in Litestream's words",
  { timeout },
  async () => {
    const path = workspace.path("wrong.db");
    const occupied = workspace.path("occupied");
    await writeFile(occupied, "a file where a folder is needed");
    writeNote(openNotes(path), "nowhere to go");
    await litestream.control.register({ path, replicaUrl: `file://${occupied}/replica` });
    const error = await failureOf(litestream.control.sync({ path, timeoutSeconds: 5 }));
    expect(error).toMatchObject({ path, status: 500 });
    expect(error.message).toContain("not a directory");
  },
);

test("a replica of an unknown kind is refused", { timeout }, async () => {
  const path = workspace.path("unknown.db");
  const error = await failureOf(
    litestream.control.register({ path, replicaUrl: "carrier-pigeon://home/dove" }),
  );
  expect(error).toMatchObject({ path, status: 400 });
  expect(error.message).toContain("carrier-pigeon");
});

test("a sync of a path that is not registered fails as not found", { timeout }, async () => {
  const path = workspace.path("nobody.db");
  expect(await failureOf(litestream.control.sync({ path, timeoutSeconds: 5 }))).toMatchObject({
    path,
    status: 404,
  });
});

test("a socket that is not there is an error without a status", { timeout }, async () => {
  const control = connectLitestream(workspace.path("no.sock"));
  const error = await failureOf(control.sync({ path: "/a.db", timeoutSeconds: 1 }));
  expect(error).toMatchObject({ path: "/a.db", status: undefined });
  expect(error.message).toContain("ENOENT");
});

test("a Litestream that never answers ends the call in time", { timeout }, async () => {
  const folder = workspace.path("silent");
  await mkdir(folder);
  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(`${folder}/s.sock`, resolve));
  const control = connectLitestream(`${folder}/s.sock`);
  try {
    expect((await failureOf(control.info())).message).toContain("no answer within 1000 ms");
  } finally {
    control.close();
    silent.close();
  }
});
