import { randomBytes, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import {
  PreconditionFailedError,
  StoreUnavailableError,
  type ObjectStore,
} from "../../app/storage/object-store.ts";
import { openStore } from "../../app/storage/open-store.ts";
import { S3Store } from "../../app/storage/s3-store.ts";
import { FaultProxy, type NetworkFault } from "./fault-proxy.ts";
import { until } from "./litestream.ts";
import { startVersityGw, type VersityGw } from "./versitygw.ts";

/** The worker's store on a real S3 server, with the network between them in the test's hands. */
let server: VersityGw;
let proxy: FaultProxy;
let store: ObjectStore;
/** The same objects by a way on which nothing goes wrong. */
let direct: ObjectStore;
let folder: string;
beforeAll(async () => {
  server = await startVersityGw();
  direct = openStore(server.storeUrl("faults"), { credentials: server.credentials, baseDir: "/" });
});
afterAll(() => server.stop());
beforeEach(async () => {
  proxy = await FaultProxy.start(server);
  store = storeBy(proxy);
  folder = randomUUID();
});
afterEach(() => proxy.close());

const timeoutMs = 1_000;

function storeBy({ endpoint }: FaultProxy): ObjectStore {
  const { bucket, credentials } = server;
  const location = { endpoint, region: "us-east-1", bucket, prefix: "faults", forcePathStyle: true };
  return new S3Store({ location, credentials, timeoutMs });
}

async function textOf(of: ObjectStore, key: string): Promise<string | undefined> {
  const found = await of.get(key);
  return found && Buffer.from(found.body).toString();
}

/** Every call of the port, each of which must tell that it does not know. */
async function expectUnavailable(): Promise<void> {
  const key = `${folder}/there`;
  const { etag } = await direct.put(key, "kept");
  const calls = [
    () => store.get(key),
    () => store.get(`${folder}/none`),
    () => store.list(`${folder}/`),
    () => store.put(`${folder}/new`, "x"),
    () => store.put(`${folder}/created`, "x", { ifNoneMatch: "*" }),
    () => store.put(key, "stale", { ifMatch: '"stale"' }),
    () => store.put(key, "kept", { ifMatch: etag }),
    () => store.delete(`${folder}/none`),
  ];
  await Promise.all(calls.map((call) => expect(call()).rejects.toThrow(StoreUnavailableError)));
}

test("without a fault the proxy is the store: what is put through it is there, and what is there is read", async () => {
  const key = `${folder}/bytes`;
  const body = randomBytes(3 * 1024 * 1024);
  await store.put(key, body, { ifNoneMatch: "*" });
  await expect(store.put(key, "again", { ifNoneMatch: "*" })).rejects.toThrow(PreconditionFailedError);
  expect(Buffer.compare((await direct.get(key))?.body ?? new Uint8Array(0), body)).toBe(0);
  expect(Buffer.compare((await store.get(key))?.body ?? new Uint8Array(0), body)).toBe(0);
  expect(await store.list(`${folder}/`)).toEqual([key]);
  expect(
    openStore(proxy.storeUrl("faults"), { credentials: server.credentials, baseDir: "/" }).description,
  ).toBe(store.description);
});

test.each<NetworkFault>(["reset-before", "reset-after", "cut-short", "unavailable", "black-hole", "held"])(
  "%s: every call says that the answer is not known, and the store serves when it is over",
  async (fault) => {
    proxy.strike(fault);
    await expectUnavailable();
    proxy.heal();
    expect(await textOf(store, `${folder}/there`)).toBe("kept");
  },
);

test("cut off: every call says that the store is not there, and is served on the way that was restored", async () => {
  await store.put(`${folder}/before`, "x");
  await proxy.cutOff();
  await expectUnavailable();
  await proxy.restore();
  expect(await textOf(store, `${folder}/there`)).toBe("kept");
});

test("latency makes answers late and never wrong, and too late is not known", async () => {
  proxy.latencyMs = 150;
  await store.put(`${folder}/a`, "late");
  expect(await textOf(store, `${folder}/a`)).toBe("late");
  proxy.latencyMs = timeoutMs + 300;
  await expect(store.get(`${folder}/a`)).rejects.toThrow(StoreUnavailableError);
});

test("of a conditional put whose connection was reset nothing is there, or all, by when it was reset", async () => {
  proxy.strike("reset-before", { times: 1 });
  await expect(store.put(`${folder}/a`, "x", { ifNoneMatch: "*" })).rejects.toThrow(StoreUnavailableError);
  expect(await textOf(direct, `${folder}/a`)).toBeUndefined();
  proxy.strike("reset-after", { times: 1 });
  await expect(store.put(`${folder}/a`, "x", { ifNoneMatch: "*" })).rejects.toThrow(StoreUnavailableError);
  expect(await textOf(direct, `${folder}/a`)).toBe("x");
  expect(proxy.struck).toBe(1 + 1);
});

test.each<NetworkFault>(["reset-before", "reset-after", "cut-short", "unavailable"])(
  "%s that strikes once is repeated for calls that may be, and they succeed",
  async (fault) => {
    const calls = [
      () => store.put(`${folder}/a`, "x"),
      () => store.get(`${folder}/a`),
      () => store.list(`${folder}/`),
      () => store.delete(`${folder}/a`),
    ];
    for (const call of calls) {
      proxy.strike(fault, { times: 1 });
      await call();
    }
    expect(proxy.struck).toBe(calls.length);
    expect(await direct.list(`${folder}/`)).toEqual([]);
  },
);

test("a put that was held arrives when the fault is healed, though its client has given it up", async () => {
  proxy.strike("held");
  await expect(store.put(`${folder}/a`, "late", { ifNoneMatch: "*" })).rejects.toThrow(StoreUnavailableError);
  await sleep(100);
  expect(await textOf(direct, `${folder}/a`)).toBeUndefined();
  proxy.heal();
  await until("it has arrived", async () => (await textOf(direct, `${folder}/a`)) === "late");
});

test("a fault strikes the requests that it is for, and no other client", async () => {
  const other = await FaultProxy.start(server);
  try {
    proxy.strike("black-hole", { only: ({ method, path }) => method === "PUT" && path.includes("/hosts/") });
    await store.put(`${folder}/tenants/t`, "x");
    await expect(store.put(`${folder}/hosts/h`, "x")).rejects.toThrow(StoreUnavailableError);
    await storeBy(other).put(`${folder}/hosts/h`, "y");
    expect(await textOf(store, `${folder}/hosts/h`)).toBe("y");
  } finally {
    await other.close();
  }
});
