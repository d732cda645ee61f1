/**
 * Stands in for the worker where its supervisors are tested: it listens, logs and dies as the worker does, keeps one run in
 * its store folder, with a child run a document, and takes a step every few milliseconds. FAKE_LOSES drops so many rows of what it had acknowledged
 * when it starts again; FAKE_SLEEPS lets it go on only when a client calls.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

interface Row {
  readonly run: string;
  readonly seq: number;
  readonly at: string;
  readonly kind: string;
  readonly path: string;
  readonly name: string;
  readonly occurrence: number;
  readonly data: unknown;
}

type Planned = Pick<Row, "run" | "kind"> & Partial<Row>;

const env = process.env;
const store = (env["HOLDFAST_STORE"] ?? "").replace(/^file:/, "");
const file = join(store, "rows.json");
mkdirSync(store, { recursive: true });

const documents = Array.from({ length: 20 }, (_, index) => ({ name: `${index}.md`, bytes: 1 }));
const root = "r1";
const plan: readonly Planned[] = [
  { run: root, kind: "run.started" },
  { run: root, kind: "step.completed", name: "list", data: { documents, leftOut: 0 } },
  ...documents.flatMap(({ name }, index): Planned[] => {
    const run = `child-${index}`;
    return [
      { run: root, kind: "child.started", path: `document:${index}`, name: "read", data: { runId: run } },
      { run, kind: "run.started" },
      { run, kind: "step.completed", name: `read ${name}`, data: { kind: "text" } },
      { run, kind: "step.completed", name: `outline ${name}` },
      { run, kind: "run.completed" },
      { run: root, kind: "child.completed", path: `document:${index}`, name: "read" },
    ];
  }),
  ...documents.map(({ name }, index): Planned => ({
    run: root,
    kind: "step.completed",
    path: `quote:${index}`,
    name: `key sentences ${name}`,
    data: [],
  })),
  { run: root, kind: "run.completed" },
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
  CREATE TABLE runs (id TEXT PRIMARY KEY, parent TEXT, status TEXT);
  CREATE TABLE history (run_id TEXT, seq INTEGER, at INTEGER, kind TEXT, name TEXT);
`);
for (const row of rows) keep(row);

function keep({ run, seq, at, kind, name }: Row): void {
  const parent = run === root ? null : root;
  database.prepare("INSERT OR IGNORE INTO runs VALUES (?, ?, 'running')").run(run, parent);
  database.prepare("INSERT INTO history VALUES (?, ?, ?, ?, ?)").run(run, seq, Date.parse(at), kind, name);
  if (kind === "run.completed")
    database.prepare("UPDATE runs SET status = 'completed' WHERE id = ?").run(run);
}

function take(): void {
  const planned = plan[rows.length];
  if (planned === undefined) return clearInterval(timer);
  const seq = rows.filter(({ run }) => run === planned.run).length + 1;
  const at = new Date().toISOString();
  const row = { path: "", name: "", occurrence: 0, data: null, ...planned, seq, at };
  rows.push(row);
  keep(row);
  // A kill in the middle of a write must not leave half a file.
  writeFileSync(`${file}.new`, JSON.stringify(rows));
  renameSync(`${file}.new`, file);
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
  const [, id = root] = /^\/v1\/runs\/([^/]+)/.exec(pathname) ?? [];
  const status = rows.length === plan.length ? "completed" : "running";
  answer.end(
    JSON.stringify(
      pathname.endsWith("/history")
        ? { items: rows.filter(({ run, seq }) => run === id && seq > after), next: null }
        : { id: root, status, state: "some documents read", output: { markdown: "# Digest\n" }, error: null },
    ),
  );
});
server.listen(Number(env["PORT"]), "127.0.0.1", () => {
  say({ event: "litestream.started", pid: litestream.pid });
  say({ event: "listening", port: (server.address() as AddressInfo).port });
  if (!restored) return;
  say({ event: "tenant.opened", tenant: "demo", epoch: 2, restoreMs: 12, openMs: 20, warm: false });
  say({ event: "run.resumed", run: "child-1", replayed: 2 });
  say({ event: "run.resumed", run: root, replayed: rows.filter(({ run }) => run === root).length });
  if (env["FAKE_SLEEPS"] === undefined) goOn();
});
process.on("SIGTERM", () => {
  litestream.kill("SIGKILL");
  process.exit(0);
});
