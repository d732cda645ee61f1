/**
 * The main process of a Machine that is no worker: answers with what it is, and ends as it is asked to by `/exit?code=`.
 * `STUBBORN=yes`: does not heed the signal that is to stop it. A file below its data folder tells whether that is fresh.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";

const { HOLDFAST_DATA: folder = "", PORT: port, STUBBORN: stubborn, FLY_MACHINE_ID: machine } = process.env;
const isFresh = !existsSync(folder);
mkdirSync(folder, { recursive: true });
writeFileSync(`${folder}/used`, "");
// It outlives its parent, as nothing outlives a Machine.
const child = spawn("sleep", ["300"], { detached: true, stdio: "ignore" });
child.unref();

for (const signal of ["SIGTERM", "SIGINT"] as const)
  process.on(signal, () => {
    console.log(JSON.stringify({ event: "signal", signal }));
    if (stubborn === undefined) process.exit(0);
  });

const server = createServer((request, response) => {
  const url = new URL(request.url ?? "/", "http://machine");
  if (url.pathname === "/exit") process.exit(Number(url.searchParams.get("code")));
  response.end(JSON.stringify({ machine, isFresh, pid: process.pid, environment: process.env }));
});
server.listen(Number(port), "127.0.0.1", () =>
  console.log(JSON.stringify({ event: "listening", port: Number(port) })),
);
