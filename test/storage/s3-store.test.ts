import dns from "node:dns";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { PreconditionFailedError, StoreUnavailableError } from "../../app/storage/object-store.ts";
import { S3Store } from "../../app/storage/s3-store.ts";
import { probeStore } from "../../app/storage/store-probe.ts";

/** A server that answers as the test says; what a real one does is in the contract suite. */
let server: Server;
let requests: IncomingMessage[] = [];
let sockets = new Set<Socket>();
let answer: (request: IncomingMessage, response: ServerResponse) => void;
beforeEach(async () => {
  requests = [];
  sockets = new Set();
  server = createServer((request, response) => {
    requests.push(request);
    request.resume().on("end", () => answer(request, response));
  });
  server.on("connection", (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
});

function openStore(options: { readonly timeoutMs?: number; readonly endpoint?: string } = {}): S3Store {
  const { port } = server.address() as AddressInfo;
  return new S3Store({
    location: {
      endpoint: options.endpoint ?? `http://127.0.0.1:${port}`,
      region: "us-east-1",
      bucket: "bucket",
      prefix: "some/prefix",
      forcePathStyle: true,
    },
    credentials: { accessKeyId: "key-id", secretAccessKey: "very-secret", sessionToken: "session-token" },
    timeoutMs: options.timeoutMs ?? 10_000,
  });
}

function answerWith(...answers: readonly (readonly [status: number, code?: string])[]): void {
  let next = 0;
  answer = (_request, response) => {
    const [status, code] = answers[Math.min(next++, answers.length - 1)] ?? [500];
    response.writeHead(status, status === 200 ? { etag: '"tag"' } : {});
    response.end(code === undefined ? "" : `<?xml version="1.0"?><Error><Code>${code}</Code></Error>`);
  };
}

test("a read that meets a server's error is repeated, and succeeds with the server", async () => {
  answerWith([503, "SlowDown"], [429], [200]);
  expect((await openStore().get("a"))?.etag).toBe('"tag"');
  expect(requests).toHaveLength(3);
});

test("reads, lists, deletes and puts without condition are repeated twice, not more", async () => {
  answerWith([500, "InternalError"]);
  const store = openStore();
  const calls = [
    () => store.get("a"),
    () => store.list("a"),
    () => store.delete("a"),
    () => store.put("a", "x"),
  ];
  for (const call of calls) {
    requests = [];
    await expect(call()).rejects.toThrow(StoreUnavailableError);
    expect(requests).toHaveLength(3);
  }
});

test("a conditional put is sent once, whatever comes back", async () => {
  const store = openStore();
  for (const status of [500, 503, 429]) {
    answerWith([status]);
    requests = [];
    await expect(store.put("a", "x", { ifNoneMatch: "*" })).rejects.toThrow(StoreUnavailableError);
    expect(requests).toHaveLength(1);
  }
  answer = (request) => request.socket.destroy();
  requests = [];
  await expect(store.put("a", "x", { ifMatch: '"tag"' })).rejects.toThrow(StoreUnavailableError);
  expect(requests).toHaveLength(1);
});

test.each([
  [412, "PreconditionFailed"],
  [409, "ConditionalRequestConflict"],
  [404, "NoSuchKey"],
] as const)("an update that is answered %i %s was refused", async (status, code) => {
  answerWith([status, code]);
  await expect(openStore().put("a", "x", { ifMatch: '"tag"' })).rejects.toThrow(PreconditionFailedError);
  expect(requests[0]?.headers["if-match"]).toBe('"tag"');
});

test("only S3's word that a key is missing counts: a missing bucket or a stranger's 404 is no empty store", async () => {
  const store = openStore();
  answerWith([404, "NoSuchKey"]);
  expect(await store.get("a")).toBeUndefined();
  answerWith([404, "NoSuchBucket"]);
  await expect(store.get("a")).rejects.toThrow(/404, NoSuchBucket: create the bucket/);
  await expect(store.put("a", "x", { ifMatch: '"tag"' })).rejects.toThrow(StoreUnavailableError);
  answerWith([404]);
  await expect(store.get("a")).rejects.toThrow(StoreUnavailableError);
  await expect(store.delete("a")).rejects.toThrow(StoreUnavailableError);
});

test("a store that hangs is given up after the time limit and not asked again", async () => {
  answer = () => {};
  const store = openStore({ timeoutMs: 200 });
  await expect(store.get("a")).rejects.toThrow(/GET "a": no answer within 200 ms/);
  expect(requests).toHaveLength(1);
  await expect(store.put("a", "x", { ifNoneMatch: "*" })).rejects.toThrow(StoreUnavailableError);
});

test("an answer that stops in its middle is given up after the time limit", async () => {
  answer = (_request, response) => {
    response.writeHead(200, { etag: '"tag"', "content-length": "100" });
    response.write("half");
  };
  await expect(openStore({ timeoutMs: 200 }).get("a")).rejects.toThrow(/no answer within 200 ms/);
});

test("an answer that was cut off is no object", async () => {
  answer = (_request, response) => {
    response.writeHead(200, { etag: '"tag"', "content-length": "100" });
    response.write("half", () => response.destroy());
  };
  await expect(openStore().get("a")).rejects.toThrow(StoreUnavailableError);
  expect(requests).toHaveLength(3);
});

test("a store that nobody listens for is unavailable, and the error names host and key but no secret", async () => {
  const store = openStore({ endpoint: "http://127.0.0.1:1" });
  const error: unknown = await store.get("hosts/a.json").catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(StoreUnavailableError);
  expect(String(error)).toContain("s3://bucket/some/prefix at 127.0.0.1:1");
  expect(String(error)).toContain('GET "hosts/a.json": connect ECONNREFUSED');
  expect(String(error)).not.toMatch(/very-secret|session-token|key-id/);
});

test("a read uses the connection of the one before, and survives that the server closed it meanwhile", async () => {
  answerWith([200]);
  const store = openStore();
  await store.get("a");
  await store.get("b");
  expect(sockets.size).toBe(1);
  for (const socket of sockets) socket.destroy();
  expect((await store.get("c"))?.etag).toBe('"tag"');
  expect(sockets.size).toBe(2);
});

test("the session token is signed and sent", async () => {
  answerWith([200]);
  await openStore().get("a");
  expect(requests[0]?.headers["x-amz-security-token"]).toBe("session-token");
  expect(requests[0]?.headers.authorization).toContain("x-amz-security-token");
});

test("Tigris is told on every request to answer consistently, others are not", async () => {
  answer = (request, response) => {
    response.writeHead(200, { etag: '"tag"' });
    response.end(
      request.url?.includes("list-type")
        ? "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
        : "",
    );
  };
  const { port } = server.address() as AddressInfo;
  const callAll = async (store: S3Store): Promise<unknown> => {
    requests = [];
    await store.get("a");
    await store.put("a", "x");
    await store.put("a", "x", { ifNoneMatch: "*" });
    await store.list("");
    return new Set(requests.map((request) => request.headers["x-tigris-consistent"]));
  };
  const lookup = vi.spyOn(dns, "lookup").mockImplementation((...passed: readonly unknown[]) => {
    const done = passed.at(-1) as (error: null, found: readonly dns.LookupAddress[]) => void;
    done(null, [{ address: "127.0.0.1", family: 4 }]);
  });
  for (const host of ["tigris.test", "fly.storage.tigris.dev", "t3.storage.dev"])
    expect(await callAll(openStore({ endpoint: `http://${host}:${port}` }))).toEqual(new Set(["true"]));
  lookup.mockRestore();
  expect(await callAll(openStore())).toEqual(new Set([undefined]));
});

test("an answer to a list that is none, or that ends without an end, is an error and no short list", async () => {
  const bodies = [
    "<html></html>",
    "<ListBucketResult><Contents><Key>some/prefix/a</Key></Contents></ListBucketResult>",
    "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
  ];
  for (const body of bodies) {
    answer = (_request, response) => response.end(body);
    await expect(openStore().list("")).rejects.toThrow(StoreUnavailableError);
  }
});

test("a list follows its pages and decodes the keys of a server that encodes them", async () => {
  answer = (request, response) => {
    const second = request.url?.includes("continuation-token=next%2F%3D") === true;
    const key = second ? "some/prefix/b%2B+c" : "some/prefix/a";
    response.end(
      `<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>${!second}</IsTruncated>` +
        (second ? "" : "<NextContinuationToken>next/=</NextContinuationToken>") +
        `<Contents><Key>${key}</Key></Contents></ListBucketResult>`,
    );
  };
  expect(await openStore().list("")).toEqual(["a", "b+ c"]);
});

test("a store that answers 501 to a condition is unfit, not unavailable", async () => {
  answer = (request, response) => {
    const conditional = request.headers["if-none-match"] !== undefined;
    const [status, code] = conditional ? [501, "NotImplemented"] : [404, "NoSuchKey"];
    response.writeHead(status);
    response.end(`<Error><Code>${code}</Code></Error>`);
  };
  await expect(probeStore(openStore())).rejects.toThrow(/knows no conditional writes/);
});
