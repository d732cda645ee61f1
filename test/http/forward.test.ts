import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { Worker } from "node:worker_threads";
import { connect, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import type { Host } from "../../app/host/host.ts";
import { Forwarder, type ForwardedRequest, type ForwarderTimes } from "../../app/http/forward.ts";
import { LostHolders } from "../../app/http/lost-holders.ts";
import { holderAt, refusingAddress, serveHolder, serveSilence, type HolderServer } from "./holder-server.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function holder(...parameters: Parameters<typeof serveHolder>): Promise<HolderServer> {
  const server = await serveHolder(...parameters);
  cleanups.push(() => server.close());
  return server;
}

async function silence(onData?: (socket: Socket) => void) {
  const server = await serveSilence(onData);
  cleanups.push(() => server.close());
  return server;
}

const patient: ForwarderTimes = { connectWithinMs: 10_000, beginWithinMs: 10_000, silentWithinMs: 20_000 };
const alive: Pick<Host, "lost"> = { lost: () => new Promise<void>(() => {}) };

function forwarder(times: Partial<ForwarderTimes> = {}, lost = alive, maxUnderWay = 100): Forwarder {
  return new Forwarder(new LostHolders(lost), { ...patient, ...times }, maxUnderWay);
}

function request(changes: Partial<ForwardedRequest> = {}): ForwardedRequest {
  return {
    method: "GET",
    path: "/v1/runs?limit=1",
    headers: {},
    body: null,
    gone: new AbortController().signal,
    ...changes,
  };
}

async function answered(sending: ReturnType<Forwarder["send"]>): Promise<Response> {
  const outcome = await sending;
  if (outcome.kind !== "answered") throw new Error(`It was ${outcome.kind}`);
  return outcome.response;
}

test.each(["127.0.0.1", "::1"])(
  "a request arrives as it was sent, at %s, and so does its answer",
  async (address) => {
    const server = await holder((_incoming, outgoing) => {
      outgoing.writeHead(201, { "content-type": "text/x", "set-cookie": ["a=1", "b=2"] });
      outgoing.end("the answer");
    }, address);
    const body = Buffer.from("the body");
    const headers = { authorization: "Bearer x" };
    const answer = await answered(forwarder().send(request({ method: "POST", headers, body }), server));
    expect([answer.status, await answer.text()]).toEqual([201, "the answer"]);
    expect(answer.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
    expect(answer.headers.get("connection")).toBeNull();
    const [got] = server.requests;
    expect([got?.incoming.method, got?.incoming.url, got?.body]).toEqual([
      "POST",
      "/v1/runs?limit=1",
      "the body",
    ]);
    expect(got?.incoming.headers).toMatchObject({ authorization: "Bearer x", "content-length": "8" });
  },
);

test("a path that looks like an address stays a path", async () => {
  const server = await holder((_incoming, outgoing) => outgoing.end());
  await answered(forwarder().send(request({ path: "//elsewhere.example/x" }), server));
  expect(server.requests[0]?.incoming.url).toBe("//elsewhere.example/x");
});

test("a host may be reached under a path", async () => {
  const server = await holder((_incoming, outgoing) => outgoing.end());
  await answered(forwarder().send(request(), { hostId: "host-2", address: `${server.address}/worker-2/` }));
  expect(server.requests[0]?.incoming.url).toBe("/worker-2/v1/runs?limit=1");
});

test.each([
  ["HEAD", 200],
  ["GET", 204],
  ["GET", 304],
])("the answer to a %s with %i has no body", async (method, status) => {
  const server = await holder((_incoming, outgoing) => outgoing.writeHead(status).end());
  const answer = await answered(forwarder().send(request({ method }), server));
  expect([answer.status, answer.body]).toEqual([status, null]);
});

test("a part of an answer is there before the next one is made", async () => {
  const next = Promise.withResolvers<void>();
  const server = await holder((_incoming, outgoing) => {
    outgoing.writeHead(200, { "content-type": "text/event-stream" });
    outgoing.write("data: 1\n\n");
    void next.promise.then(() => outgoing.end("data: 2\n\n"));
  });
  const answer = await answered(forwarder().send(request(), server));
  const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
  const read = async () => Buffer.from((await reader.read()).value ?? []).toString();
  expect(await read()).toBe("data: 1\n\n");
  next.resolve();
  expect(await read()).toBe("data: 2\n\n");
  expect((await reader.read()).done).toBe(true);
});

test("an answer that breaks off is an error for who reads it, not an end", async () => {
  const server = await holder((_incoming, outgoing) => {
    outgoing.writeHead(200, { "content-length": "100" });
    outgoing.write("some", () => outgoing.destroy());
  });
  const answer = await answered(forwarder().send(request(), server));
  await expect(answer.text()).rejects.toThrow("aborted");
});

test("requests one after the other use one connection", async () => {
  const server = await holder((_incoming, outgoing) => outgoing.end("x"));
  const forwards = forwarder();
  for (let round = 0; round < 3; round += 1)
    expect(await (await answered(forwards.send(request(), server))).text()).toBe("x");
  expect(new Set(server.requests.map(({ incoming }) => incoming.socket.remotePort)).size).toBe(1);
});

test("so many requests may be under way to one host; beyond, nothing is sent, until one of them has ended", async () => {
  const server = await holder(() => {});
  const forwards = forwarder({}, alive, 2);
  const gone = new AbortController();
  const held = [forwards.send(request({ gone: gone.signal }), server), forwards.send(request(), server)];
  await expect.poll(() => server.requests).toHaveLength(2);
  expect(await forwards.send(request(), server)).toEqual({ kind: "crowded" });
  expect(server.requests).toHaveLength(2);
  const elsewhere = forwards.send(request(), { ...holderAt(await refusingAddress()), hostId: "host-3" });
  expect(await elsewhere).toEqual({ kind: "refused" });

  gone.abort();
  expect(await held[0]).toEqual({ kind: "abandoned" });
  server.answer = (_incoming, outgoing) => outgoing.end("x");
  for (let count = 0; count < 3; count += 1)
    expect(await (await answered(forwards.send(request(), server))).text()).toBe("x");
});

test("nobody at the address: refused", async () => {
  expect(await forwarder().send(request(), holderAt(await refusingAddress()))).toEqual({ kind: "refused" });
});

test("a Machine that is gone answers no connection, and is waited for no longer than a connection takes", async () => {
  const port = await deafPort();
  const outcome = forwarder({ connectWithinMs: 200 }).send(request(), holderAt(`http://127.0.0.1:${port}`));
  expect(await outcome).toEqual({ kind: "unreachable" });
});

test("a host that says that the tenant is not there has done nothing", async () => {
  const server = await holder((_incoming, outgoing) => {
    outgoing.writeHead(503, { "holdfast-not-here": "1" }).end("{}");
  });
  expect(await forwarder().send(request(), server)).toEqual({ kind: "not-here" });
});

test("another host that has got the address says so, and has done nothing", async () => {
  const server = await holder((_incoming, outgoing) => {
    outgoing.setHeader("holdfast-host", "host-9");
    outgoing.writeHead(421, { "holdfast-not-here": "1" }).end("{}");
  });
  expect(await forwarder().send(request(), server)).toEqual({ kind: "misdirected" });
});

test.each([
  ["a program that is no host", (outgoing: ServerResponse) => outgoing.removeHeader("holdfast-host")],
  ["another host", (outgoing: ServerResponse) => outgoing.setHeader("holdfast-host", "host-9")],
])("what %s answers at the address is not the tenant's word, and not passed on", async (_who, as) => {
  for (const status of [200, 401, 404, 503]) {
    const server = await holder((_incoming, outgoing) => {
      as(outgoing);
      outgoing.writeHead(status).end("not yours");
    });
    expect(await forwarder().send(request({ method: "POST" }), server)).toEqual({ kind: "broken" });
  }
});

test("any other 503 is the answer", async () => {
  const server = await holder((_incoming, outgoing) => outgoing.writeHead(503).end("late"));
  const answer = await answered(forwarder().send(request(), server));
  expect([answer.status, await answer.text()]).toEqual([503, "late"]);
});

test("a connection that breaks after the request was sent leaves open whether it was done", async () => {
  const server = await holder((incoming) => incoming.socket.destroy());
  expect(await forwarder().send(request({ method: "POST" }), server)).toEqual({ kind: "broken" });
  expect(server.requests).toHaveLength(1);
});

test("so does one that was kept from an earlier request", async () => {
  const server = await holder((_incoming, outgoing) => outgoing.end("x"));
  const forwards = forwarder();
  await (await answered(forwards.send(request(), server))).text();
  server.answer = (incoming) => incoming.socket.destroy();
  expect(await forwards.send(request(), server)).toEqual({ kind: "broken" });
});

test("a host that is lost while its answer is waited for is waited for no longer", async () => {
  const server = await holder(() => {});
  const asked: string[] = [];
  const lost = async (hostId: string) => void asked.push(hostId);
  expect(await forwarder({}, { lost }).send(request(), server)).toEqual({ kind: "lost" });
  expect(asked).toEqual(["host-2"]);
});

test.each(["GET", "POST", "DELETE"])(
  "of a host that accepts connections and says nothing a %s has been begun by nobody, and is not waited for",
  async (method) => {
    const { received, ...server } = await silence();
    const body = method === "POST" ? Buffer.from("the body") : null;
    const outcome = forwarder({ beginWithinMs: 200 }).send(request({ method, body }), server);
    expect(await outcome).toEqual({ kind: "unreachable" });
    // Its head and nothing else: a host that comes to it later finds that it has no end, and does nothing.
    const head = expect.stringContaining(`${method} /v1/runs?limit=1 HTTP/1.1`);
    expect(received().split("\r\n\r\n")).toEqual([head, ""]);
  },
);

test("a host that is lost before it has said anything has begun nothing", async () => {
  const server = await silence();
  const lost = async () => {};
  expect(await forwarder({}, { lost }).send(request({ method: "POST" }), server)).toEqual({ kind: "gone" });
});

test("what has said nothing before it broke the connection has begun nothing", async () => {
  const server = await silence((socket) => socket.destroy());
  const sending = forwarder().send(request({ method: "POST", body: Buffer.from("x") }), server);
  expect(await sending).toEqual({ kind: "unreachable" });
});

test("an answer that comes in the place of a sign to go on is the answer, and the body is not sent", async () => {
  const refusal = "HTTP/1.1 503 Busy\r\nholdfast-host: host-2\r\ncontent-length: 4\r\n\r\nbusy";
  const { received, ...server } = await silence((socket) => socket.write(refusal));
  const body = Buffer.from("the body");
  const answer = await answered(forwarder().send(request({ method: "POST", body }), server));
  expect([answer.status, await answer.text()]).toEqual([503, "busy"]);
  expect(received()).not.toContain("the body");
});

test.each(["POST", "DELETE"])("a %s without a body arrives without one", async (method) => {
  const server = await holder((_incoming, outgoing) => outgoing.end("x"));
  const forwards = forwarder();
  for (const body of [null, Buffer.alloc(0)])
    expect(await (await answered(forwards.send(request({ method, body }), server))).text()).toBe("x");
  expect(server.requests.map((got) => [got.incoming.method, got.body])).toEqual([
    [method, ""],
    [method, ""],
  ]);
  expect(new Set(server.requests.map(({ incoming }) => incoming.socket.remotePort)).size).toBe(1);
});

test("a host that lives but is silent for too long has broken off", async () => {
  const server = await holder(() => {});
  expect(await forwarder({ silentWithinMs: 200 }).send(request(), server)).toEqual({ kind: "broken" });
});

test("a client that goes away ends the request, before its answer and within it", async () => {
  const before = new AbortController();
  const server = await holder(() => before.abort());
  expect(await forwarder().send(request({ gone: before.signal }), server)).toEqual({ kind: "abandoned" });

  const within = new AbortController();
  const closed = Promise.withResolvers<void>();
  server.answer = (_incoming, outgoing) => {
    outgoing.on("close", () => closed.resolve());
    outgoing.write("some");
  };
  const answer = await answered(forwarder().send(request({ gone: within.signal }), server));
  const reading = answer.text();
  within.abort();
  await expect(reading).rejects.toThrow("aborted");
  await closed.promise;
});

test("a client that is gone already sends nothing on", async () => {
  const server = await holder((_incoming, outgoing) => outgoing.end());
  const outcome = forwarder().send(request({ gone: AbortSignal.abort() }), server);
  expect(await outcome).toEqual({ kind: "abandoned" });
  expect(server.requests).toEqual([]);
});

/** A port whose queue of connections is full, and whose process accepts none: what is sent there gets no answer at all. */
async function deafPort(): Promise<number> {
  const code = `
    const { parentPort } = require("node:worker_threads");
    const server = require("node:net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
      parentPort.postMessage(server.address().port);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    });`;
  const thread = new Worker(code, { eval: true });
  cleanups.push(() => thread.terminate());
  const [port] = (await once(thread, "message")) as [number];
  for (;;) {
    const filler: Socket = connect(port, "127.0.0.1");
    filler.on("error", () => {});
    cleanups.push(() => filler.destroy());
    const late = new Promise<"full">((resolve) => setTimeout(() => resolve("full"), 500));
    if ((await Promise.race([once(filler, "connect"), late])) === "full") return port;
  }
}
