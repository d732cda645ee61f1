import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { until } from "../support/litestream.ts";
import { PlainMachine } from "./plain-machine.ts";
import { FlyProxy, type FlyProxyOptions } from "./proxy.ts";

let fra: PlainMachine;
let syd: PlainMachine;
let machines: PlainMachine[];
let proxies: FlyProxy[];
beforeEach(async () => {
  [fra, syd] = [await PlainMachine.started("f1", "fra"), await PlainMachine.started("s1", "syd")];
  machines = [fra, syd];
  proxies = [];
});
afterEach(async () => {
  for (const proxy of proxies) await proxy.close();
  for (const machine of machines) await machine.stop();
});

/** The URL of an edge in Frankfurt. */
async function edge(options: Partial<FlyProxyOptions> = {}, region = "fra"): Promise<string> {
  const proxy = new FlyProxy({ appName: "kelp", machines, retries: 8, retryEveryMs: 20, ...options });
  proxies.push(proxy);
  return await proxy.listen(region);
}

/** Answers a first request by that replay, and everything else by its id. */
function replays(machine: PlainMachine, header: string): void {
  machine.handle = ({ headers }, answer) => {
    const isFirst = headers["fly-replay-src"] === undefined && headers["fly-replay-failed"] === undefined;
    if (isFirst) answer.setHeader("fly-replay", header);
    answer.end(machine.id);
  };
}

const textOf = async (url: string, init?: RequestInit): Promise<string> =>
  await (await fetch(url, init)).text();

test("a request goes to the nearest Machine, and tells it the edge's region and an id that the client gets too", async () => {
  const answer = await fetch(`${await edge()}/v1/runs?limit=2`);
  expect(await answer.text()).toBe("f1");
  const [seen] = fra.seen;
  expect(seen?.path).toBe("/v1/runs?limit=2");
  expect(seen?.headers["fly-region"]).toBe("fra");
  expect(seen?.headers["fly-request-id"]).toBe(answer.headers.get("fly-request-id"));
  expect(await textOf(await edge({}, "syd"))).toBe("s1");
});

test("a replay to an instance comes with what the Machine that sent it said, and with the whole request", async () => {
  replays(fra, "instance=s1;state=why");
  const body = "x".repeat(300_000);
  const url = await edge();
  expect(await textOf(`${url}/v1/wake`, { method: "POST", body, headers: { "x-own": "1" } })).toBe("s1");
  const [seen] = syd.seen;
  expect(seen).toMatchObject({ path: "/v1/wake", body, headers: { "x-own": "1" } });
  expect(seen?.headers["fly-replay-src"]).toMatch(/^instance=f1;region=fra;t=\d{16};state=why$/);
  expect(proxies[0]?.deliveries.map(({ machine }) => machine)).toEqual(["f1", "s1"]);
});

test("a replay to a region, or to somewhere else, leaves the Machine that sent it", async () => {
  const url = await edge();
  replays(fra, "region=syd");
  expect(await textOf(url)).toBe("s1");
  replays(fra, "elsewhere=true");
  expect(await textOf(url)).toBe("s1");
});

test("a replay starts a target that is stopped, and reaches it once it listens", async () => {
  replays(fra, "instance=s1");
  await syd.stop();
  syd.bootMs = 60;
  expect(await textOf(await edge())).toBe("s1");
  expect(syd.starts).toBe(1);
});

test("a body over 1 MB reaches the first Machine, and is not replayed", async () => {
  const url = await edge();
  const body = "x".repeat(1_000_001);
  expect(await textOf(url, { method: "POST", body })).toBe("f1");
  expect(fra.seen[0]?.body).toHaveLength(1_000_001);
  replays(fra, "instance=s1");
  const refused = await fetch(url, { method: "POST", body });
  expect([refused.status, await refused.text()]).toEqual([502, expect.stringContaining("PA01")]);
  expect(await textOf(url, { method: "POST", body: body.slice(1) })).toBe("s1");
});

test("a Machine may ask for a replay before it has read the body", async () => {
  fra.readsBody = false;
  replays(fra, "instance=s1");
  const body = "y".repeat(900_000);
  expect(await textOf(await edge(), { method: "POST", body })).toBe("s1");
  expect(syd.seen[0]?.body).toBe(body);
});

test("a replay without a fallback that reaches nobody is Fly's error", async () => {
  replays(fra, "instance=gone");
  const answer = await fetch(await edge());
  expect([answer.status, await answer.text()]).toEqual([502, "PR04 no_candidate\n"]);
});

test("a replay that reaches nobody falls back to the Machine that asked for it, and says why", async () => {
  const url = await edge();
  replays(fra, "instance=gone;fallback=force_self");
  expect(await textOf(url)).toBe("f1");
  const failed = fra.seen[1]?.headers["fly-replay-failed"];
  expect(failed).toMatch(/^instance=gone;app=kelp;replay_source=f1;reason=no_candidate;elapsed_ms=\d+$/);
  expect(fra.seen[1]?.headers["fly-replay-src"]).toBeUndefined();
});

test("a target that refuses connections uses up the tries, or the replay's own timeout", async () => {
  await syd.stop();
  syd.state = "started";
  replays(fra, "instance=s1;fallback=prefer_self");
  expect(await textOf(await edge({ retries: 3 }))).toBe("f1");
  expect(fra.seen[1]?.headers["fly-replay-failed"]).toContain("reason=retries_exhausted");
  replays(fra, "instance=s1;timeout=50ms;fallback=prefer_self");
  expect(await textOf(await edge({ retries: 90 }))).toBe("f1");
  expect(fra.seen[3]?.headers["fly-replay-failed"]).toContain("reason=timeout");
});

test("a fallback finds another Machine with prefer_self if the first is gone, and none with force_self", async () => {
  const [second] = [await PlainMachine.started("f2", "fra")];
  machines.push(second);
  const url = await edge({ autoStart: false });
  for (const fallback of ["prefer_self", "force_self"]) {
    fra.handle = (_request, answer) => {
      answer.setHeader("fly-replay", `instance=gone;fallback=${fallback}`);
      answer.end(() => void fra.stop());
    };
    const answer = await fetch(url, { headers: { "fly-force-instance-id": "f1" } });
    expect(answer.status, fallback).toBe(fallback === "prefer_self" ? 200 : 502);
    await until("the Machine is gone", () => fra.state === "stopped");
    await fra.start();
  }
});

test("a request that fell back cannot be replayed, and nothing is replayed more than ten times", async () => {
  const url = await edge();
  fra.handle = (_request, answer) => {
    answer.setHeader("fly-replay", "instance=gone;fallback=force_self");
    answer.end();
  };
  expect((await fetch(url)).status).toBe(502);
  expect(fra.seen).toHaveLength(2);

  fra.handle = (_request, answer) => {
    answer.setHeader("fly-replay", "region=fra");
    answer.end();
  };
  const answer = await fetch(url);
  expect([answer.status, await answer.text()]).toEqual([502, expect.stringContaining("PA02")]);
  expect(fra.seen).toHaveLength(2 + 11);
});

test("a header that is malformed is Fly's error", async () => {
  replays(fra, "instance=s1;colour=red");
  const answer = await fetch(await edge());
  expect([answer.status, await answer.text()]).toEqual([502, expect.stringContaining("PA03")]);
});

test("a client's own headers force an instance or prefer a region", async () => {
  const url = await edge();
  expect(await textOf(url, { headers: { "fly-force-instance-id": "s1" } })).toBe("s1");
  expect(await textOf(url, { headers: { "fly-prefer-region": "lhr, syd" } })).toBe("s1");
  expect(await textOf(url, { headers: { "fly-prefer-region": "lhr" } })).toBe("f1");
  const answer = await fetch(url, { headers: { "fly-force-instance-id": "gone" } });
  expect(answer.status).toBe(502);
});

test("a stopped Machine is started by a request, if that is allowed", async () => {
  for (const machine of machines) await machine.stop();
  expect((await fetch(await edge({ autoStart: false }))).status).toBe(502);
  fra.bootMs = 50;
  expect(await textOf(await edge())).toBe("f1");
  expect([fra.starts, syd.starts]).toEqual([1, 0]);
});

test("a request waits while every Machine is at its hard limit, and is refused by 503 in the end", async () => {
  machines.pop();
  await syd.stop();
  const held: http.ServerResponse[] = [];
  fra.handle = (_request, answer) => void held.push(answer);
  const url = await edge({ hardLimit: 1, queueMs: 200 });
  const first = textOf(url);
  await until("the first is there", () => held.length === 1);
  expect((await fetch(url)).status).toBe(503);
  const second = textOf(url);
  await sleep(50);
  expect(held).toHaveLength(1);
  held[0]?.end("first");
  await until("the second is there", () => held.length === 2);
  held[1]?.end("second");
  expect(await Promise.all([first, second])).toEqual(["first", "second"]);
});

test("a Machine that has just stopped may still be tried; another one gets the request then", async () => {
  const url = await edge({ stateLagMs: 5_000, distance: () => 0 });
  await fra.stop();
  for (let asked = 0; asked < 5; asked += 1) expect(await textOf(url)).toBe("s1");
  expect(fra.starts).toBe(0);
});

test("what a Machine breaks off is broken off for the client, and is sent to nobody else", async () => {
  const url = await edge();
  fra.handle = (_request, answer) => void answer.destroy();
  const answer = await fetch(url, { method: "POST", body: "pay" });
  expect([answer.status, await answer.text()]).toEqual([502, expect.stringContaining("PU02")]);
  fra.handle = (_request, response) => {
    response.write("half");
    setTimeout(() => response.destroy(), 30);
  };
  await expect(textOf(url)).rejects.toThrow(TypeError);
  expect(syd.seen).toEqual([]);
});

test("bodies are streamed both ways, and a client that leaves is gone for the Machine too", async () => {
  const url = await edge();
  fra.readsBody = false;
  let left = false;
  fra.handle = (_request, answer, incoming) => {
    answer.on("close", () => (left = true));
    answer.writeHead(200);
    incoming.pipe(answer);
  };
  const request = http.request(url, { method: "POST" });
  request.on("error", () => {});
  const heard: string[] = [];
  request.on("response", (response) => {
    response.on("error", () => {});
    response.on("data", (chunk: Buffer) => heard.push(chunk.toString()));
  });
  request.write("one");
  await until("the first piece is back", () => heard.join("") === "one");
  request.write("two");
  await until("the second piece is back", () => heard.join("") === "onetwo");
  request.destroy();
  await until("the Machine knows", () => left);
  expect(heard).toEqual(["one", "two"]);
});
