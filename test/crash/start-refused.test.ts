import { createServer, type Server } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { WorkerPlace, type WorkerLife } from "../support/worker.ts";

let place: WorkerPlace;
beforeEach(async () => {
  place = await WorkerPlace.open({ AWS_ACCESS_KEY_ID: "key", AWS_SECRET_ACCESS_KEY: "secret" });
});
afterEach(() => place.close());

test("a worker whose store refuses connections says so in one line and exits 1", async () => {
  const server = await listen();
  const port = portOf(server);
  await new Promise((resolve) => server.close(resolve));
  const life = place.launch({ HOLDFAST_STORE: bucketAt(port) });
  expect(await refusal(life)).toMatch(/store .* \(HOLDFAST_STORE\) cannot be used/);
});

test("a worker whose store never answers says so in one line and exits 1", async () => {
  const server = await listen();
  try {
    const life = place.launch({ HOLDFAST_STORE: bucketAt(portOf(server)) });
    const line = /store .* \(HOLDFAST_STORE\) cannot be used: .*did not answer within 10 s/;
    expect(await refusal(life)).toMatch(line);
  } finally {
    server.close();
  }
});

test("a worker with a wrong setting names it in one line and exits 1", async () => {
  const store = { HOLDFAST_STORE: `file:${join(place.folder, "store")}` };
  const wrong = {
    HOLDFAST_TOKEN_SECRET: "short",
    HOLDFAST_AGENTS: "/nowhere",
    HOLDFAST_LITESTREAM: "/nowhere",
  };
  for (const [name, value] of Object.entries(wrong))
    expect(await refusal(place.launch({ ...store, [name]: value }))).toContain(name);
});

test("a second worker on the same data folder says so in one line and exits 1, and the first goes on", async () => {
  const store = { HOLDFAST_STORE: `file:${join(place.folder, "store")}` };
  const first = await place.start(store);
  const line = /data folder .* is in use by another process.*HOLDFAST_DATA/;
  expect(await refusal(place.launch(store))).toMatch(line);
  const client = await first.client("acme");
  const answer = await client.start("chain", { token: "t", steps: 2, ms: 1 }, { wait: "20s" });
  expect(answer).toMatchObject({ status: 200, body: { status: "completed" } });
});

/** The one line that a worker says which exits 1 before it listens. */
async function refusal(life: WorkerLife): Promise<string> {
  expect(await life.exited).toEqual({ code: 1, signal: null });
  expect(life.events("listening")).toEqual([]);
  expect(life.plainLines).toHaveLength(1);
  const [line = ""] = life.plainLines;
  expect(line).toMatch(/^holdfast: /);
  return line;
}

/** Accepts connections and says nothing. */
async function listen(): Promise<Server> {
  const server = createServer((socket) => socket.on("error", () => {}).unref()).unref();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

function bucketAt(port: number): string {
  return `s3://bucket/prefix?endpoint=${encodeURIComponent(`http://127.0.0.1:${port}`)}&forcePathStyle=true`;
}
