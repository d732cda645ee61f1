import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { verifyToken } from "../../app/http/token.ts";
import { callWake } from "../../app/waker/wake-call.ts";

const tokenSecret = "the-secret-of-these-tests-is-32-bytes-long";
const never = new AbortController().signal;

let server: Server;
let requests: IncomingMessage[];
let respond: (answer: ServerResponse) => void;
beforeEach(async () => {
  requests = [];
  server = createServer((request, answer) => {
    requests.push(request);
    respond(answer);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const call = (timeoutMs = 5_000, signal = never): ReturnType<typeof callWake> =>
  callWake({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    tokenSecret,
    timeoutMs,
    signal,
  });

test("the call carries an operator's token of a few minutes, and gives what the app answers", async () => {
  respond = (answer) => answer.end(JSON.stringify({ due: 2, served: 1 }));
  expect(await call()).toEqual({ due: 2, served: 1 });
  const [request] = requests;
  expect([request?.method, request?.url]).toEqual(["POST", "/v1/wake"]);
  const token = request?.headers.authorization?.replace("Bearer ", "") ?? "";
  const claims = await verifyToken(token, [tokenSecret]);
  expect([claims.tenant, [...claims.scopes]]).toEqual([null, ["operator"]]);
  const { exp, iat } = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as {
    readonly exp: number;
    readonly iat: number;
  };
  expect(exp - iat).toBe(120);
});

test("any other answer is an error that says what it was", async () => {
  respond = (answer) => answer.writeHead(503).end('{"code":"draining"}');
  await expect(call()).rejects.toThrow(/answered 503: \{"code":"draining"\}/);
  respond = (answer) => answer.end("<html>");
  await expect(call()).rejects.toThrow(/answered 200: <html>/);
});

test("a redirect is not followed, since it would become another request", async () => {
  respond = (answer) => answer.writeHead(301, { location: "https://kelp.example/v1/wake" }).end();
  await expect(call()).rejects.toThrow(
    /a redirect to https:\/\/kelp.example\/v1\/wake; set HOLDFAST_WAKE_URL/,
  );
  expect(requests).toHaveLength(1);
});

test("an app that breaks off, or that does not answer in time, is an error, and so is the waker's end", async () => {
  respond = (answer) => void answer.destroy();
  await expect(call()).rejects.toThrow(/did not answer: other side closed/);
  respond = () => {};
  await expect(call(50)).rejects.toThrow(/did not answer: .*timeout/);
  await expect(call(5_000, AbortSignal.timeout(20))).rejects.toThrow(/did not answer/);
});
