import { execFileSync } from "node:child_process";
import { createServer } from "node:net";

import { expect, test } from "vitest";

import { reactToExit } from "../../scripts/dev/after-exit.ts";
import { findFreePort } from "../../scripts/dev/free-port.ts";
import { curlStart, pageLink, shellQuoted } from "../../scripts/dev/way-in.ts";

test("a port that is taken is passed over", async () => {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, resolve);
  });
  const address = server.address();
  const taken = typeof address === "object" && address !== null ? address.port : 0;
  try {
    expect(await findFreePort(taken, 20)).toBeGreaterThan(taken);
    await expect(findFreePort(taken, 1)).rejects.toThrow(String(taken));
  } finally {
    server.close();
  }
});

test("the curl line reaches curl as it is meant, quotes and all", () => {
  const wayIn = { url: "http://127.0.0.1:1", token: "a.b-c_d" };
  const line = curlStart(wayIn, "digest", { documents: ['it\'s $HOME/`x` "y".md'] });
  const [, , url, , token, , , , body] = execFileSync("sh", ["-c", `printf '%s\\n' ${line}`], {
    encoding: "utf8",
  }).split("\n");
  expect(url).toBe("http://127.0.0.1:1/v1/agents/digest/runs?wait=30s");
  expect(token).toBe("authorization: Bearer a.b-c_d");
  expect(JSON.parse(body ?? "")).toEqual({ input: { documents: ['it\'s $HOME/`x` "y".md'] } });
  expect(shellQuoted("it's")).toBe(String.raw`'it'\''s'`);
  expect(pageLink(wayIn)).toBe("http://127.0.0.1:1/#token=a.b-c_d");
});

test("only a worker that had been ready is started again, and not for ever", () => {
  const crash = { code: 1, signal: null };
  expect(reactToExit(crash, { wasReady: false, crashes: 1 })).toEqual({ kind: "await-edit" });
  expect(reactToExit(crash, { wasReady: true, crashes: 1 })).toEqual({ kind: "again", delayMs: 500 });
  expect(reactToExit(crash, { wasReady: true, crashes: 3 })).toEqual({ kind: "again", delayMs: 2_000 });
  expect(reactToExit(crash, { wasReady: true, crashes: 4 })).toEqual({ kind: "await-edit" });
  expect(reactToExit({ code: 0, signal: null }, { wasReady: true, crashes: 1 })).toEqual({
    kind: "await-edit",
  });
  expect(reactToExit({ code: null, signal: "SIGKILL" }, { wasReady: true, crashes: 1 }).kind).toBe("again");
});
