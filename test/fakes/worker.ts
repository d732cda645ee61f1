/**
 * Stands in for the worker where its supervisors are tested: it listens, logs and dies as the worker does, keeps one run in
 * its store folder and takes a step every few milliseconds. FAKE_LOSES drops so many rows of what it had acknowledged
 * when it starts again; FAKE_SLEEPS lets it go on only when a client calls.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

interface Row {
  readonly seq: number;
  readonly at: string;
  readonly kind: string;
  readonly name: string;
  readonly data: unknown;
}

const env = process.env;
const store = (env["HOLDFAST_STORE"] ?? "").replace(/^file:/, "");
const file = join(store, "rows.json");
mkdirSync(store, { recursive: true });

const documents = Array.from({ length: 20 }, (_, index) => ({ name: `${index}.md`, bytes: 1 }));
const plan = [
  { name: "list", data: { documents, leftOut: 0 } },
  ...documents.flatMap(({ name }) => [
    { name: `read ${name}`, data: { kind: "text" } },
    { name: `outline ${name}`, data: null },
  ]),
  ...documents.map(({ name }) => ({ name: `key sentences ${name}`, data: [] })),
];

let rows: Row[] = [];
const restored = existsSync(file);
if (restored) {
  rows = JSON.parse(readFileSync(file, "utf8"));
  rows.splice(rows.length - Number(env["FAKE_LOSES"] ?? 0));
}

const epoch = restored ? 2 : 1;
const tenantFolder = join(env["HOLDFAST_DATA"] ?? store, `demo/e${epoch}`);
mkdirSync(tenantFolder, { recursive: true });
const database = new DatabaseSync(join(tenantFolder, "tenant.db"));
database.exec(`
  PRAGMA journal_mode = WAL;
  PRAGMA busy_timeout = 5000;
  CREATE TABLE runs (id TEXT PRIMARY KEY, status TEXT);
  CREATE TABLE history (run_id TEXT, seq INTEGER, kind TEXT, name TEXT);
  INSERT INTO runs VALUES ('r1', 'running');
`);
for (const row of rows) keep(row);

function keep({ seq, kind, name }: Row): void {
  database.prepare("INSERT INTO history VALUES ('r1', ?, ?, ?)").run(seq, kind, name);
  if (kind === "run.completed") database.exec("UPDATE runs SET status = 'completed'");
}

function take(): void {
  const steps = rows.filter(({ kind }) => kind === "step.completed").length;
  const step = plan[steps];
  const kind = rows.length === 0 ? "run.started" : step === undefined ? "run.completed" : "step.completed";
  const named = kind === "step.completed" && step !== undefined ? step : { name: "", data: null };
  const row = { seq: rows.length + 1, at: new Date().toISOString(), kind, ...named };
  rows.push(row);
  keep(row);
  // A kill in the middle of a write must not leave half a file.
  writeFileSync(`${file}.new`, JSON.stringify(rows));
  renameSync(`${file}.new`, file);
  if (kind === "run.completed") clearInterval(timer);
}

let timer: NodeJS.Timeout | undefined;
const goOn = (): void => {
  timer ??= setInterval(take, 15);
};
const say = (fields: object): void => console.log(JSON.stringify({ level: 30, ...fields }));

const litestream = spawn(process.execPath, ["-e", "setTimeout(() => {}, 120_000)"], { stdio: "ignore" });
const server = createServer((request, answer) => {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://worker");
  if (pathname === "/readyz") {
    answer.end("{}");
    return;
  }
  goOn();
  const after = Number(searchParams.get("after") ?? 0);
  const status = rows.at(-1)?.kind === "run.completed" ? "completed" : "running";
  answer.end(
    JSON.stringify(
      pathname.endsWith("/history")
        ? { items: rows.filter(({ seq }) => seq > after), next: null }
        : { id: "r1", status, output: { markdown: "# Digest\n" }, error: null },
    ),
  );
});
server.listen(Number(env["PORT"]), "127.0.0.1", () => {
  say({ event: "litestream.started", pid: litestream.pid });
  say({ event: "listening", port: (server.address() as AddressInfo).port });
  if (!restored) return;
  say({ event: "tenant.opened", tenant: "demo", epoch: 2, restoreMs: 12, openMs: 20, warm: false });
  say({ event: "run.resumed", replayed: rows.length });
  if (env["FAKE_SLEEPS"] === undefined) goOn();
});
process.on("SIGTERM", () => {
  litestream.kill("SIGKILL");
  process.exit(0);
});
