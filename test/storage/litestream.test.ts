import { chmod, readFile, stat, writeFile } from "node:fs/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";
import { locateLitestreamSocket } from "../../app/storage/litestream-socket.ts";
import { requireNewEnough } from "../../app/storage/litestream-binary.ts";
import { restartDelayMs, superviseLitestream } from "../../app/storage/litestream.ts";
import { restoreReplica } from "../../app/storage/litestream-restore.ts";
import {
  collectLog,
  isRunning,
  litestreamBinary,
  litestreamConfig,
  LitestreamWorkspace,
  openNotes,
  readNotes,
  until,
  writeNote,
} from "../support/litestream.ts";

const timeout = 60_000;
const retention = z.object({ timestamp: z.iso.datetime({ offset: true }) });
let workspace: LitestreamWorkspace;

beforeEach(async () => {
  workspace = await LitestreamWorkspace.open();
});

afterEach(async () => {
  await workspace.close();
}, timeout);

test("a Litestream that is killed comes back, and says so", { timeout }, async () => {
  const litestream = await workspace.supervise();
  const firstLife = litestream.life;
  const restarted = Promise.withResolvers<void>();
  litestream.onRestart(restarted.resolve);
  const { pid } = await litestream.control.info();

  process.kill(pid, "SIGKILL");
  await until("its death is seen", () => litestream.state.kind === "restarting");
  expect(litestream.state).toMatchObject({
    kind: "restarting",
    attempt: 1,
    error: "it was ended by SIGKILL",
  });
  await litestream.ready(timeout);
  await restarted.promise;

  expect(litestream.state.kind).toBe("up");
  expect(litestream.life).toBeGreaterThan(firstLife);
  expect((await litestream.control.info()).pid).not.toBe(pid);
  expect(await litestream.control.list()).toEqual([]);
});

test(
  "a file that is registered again after Litestream was killed goes on with its history",
  { timeout },
  async () => {
    const litestream = await workspace.supervise();
    const path = workspace.path("tenant.db");
    const replicaUrl = workspace.replicaUrl("tenant");
    const database = openNotes(path);
    let txid = 0;
    for (let life = 0; life < 3; life++) {
      expect(await litestream.control.register({ path, replicaUrl })).toBe("registered");
      writeNote(database, `in life ${life}`);
      const synced = await litestream.control.sync({ path, timeoutSeconds: 10 });
      expect(synced.txid).toBeGreaterThan(txid);
      expect(synced.replicatedTxid).toBe(synced.txid);
      txid = synced.txid;
      writeNote(database, `not yet synced in life ${life}`);
      process.kill((await litestream.control.info()).pid, "SIGKILL");
      await until("its death is seen", () => litestream.state.kind === "restarting");
      await litestream.ready(timeout);
    }
    await litestream.control.register({ path, replicaUrl });
    await litestream.control.sync({ path, timeoutSeconds: 10 });

    const outputPath = workspace.path("restored.db");
    const log = workspace.log;
    await restoreReplica({
      binary: litestreamBinary(),
      environment: process.env,
      replicaUrl,
      outputPath,
      log,
      timeoutMs: timeout,
    });
    expect(readNotes(openNotes(outputPath))).toEqual(readNotes(database));
    expect(readNotes(database)).toHaveLength(6);
  },
);

test("stop leaves no process and no socket", { timeout }, async () => {
  const litestream = await workspace.supervise();
  const { pid } = await litestream.control.info();
  await litestream.stop();
  expect(await isRunning(pid)).toBe(false);
  expect(litestream.state).toEqual({ kind: "stopped" });
  await expect(litestream.ready(1_000)).rejects.toThrow("stopped");
  await expect(stat(locateLitestreamSocket(workspace.dataFolder).folder)).rejects.toThrow("ENOENT");
});

test("stop ends even a Litestream that does not react", { timeout }, async () => {
  const litestream = await workspace.supervise();
  const { pid } = await litestream.control.info();
  process.kill(pid, "SIGSTOP");
  await litestream.stop();
  expect(await isRunning(pid)).toBe(false);
});

test("stop during a restart leaves no process", { timeout }, async () => {
  const litestream = await workspace.supervise();
  process.kill((await litestream.control.info()).pid, "SIGKILL");
  await until("its death is seen", () => litestream.state.kind === "restarting");
  await litestream.stop();
  expect(litestream.state).toEqual({ kind: "stopped" });
  await expect(litestream.control.info()).rejects.toThrow("info");
});

test("AWS_CA_BUNDLE does not reach Litestream, other variables do", { timeout }, async () => {
  const environment = { ...process.env, AWS_CA_BUNDLE: "/a/bundle.pem", AWS_REGION: "somewhere" };
  const litestream = await workspace.supervise(environment);
  const { pid } = await litestream.control.info();
  const variables = await readFile(`/proc/${pid}/environ`, "utf8");
  expect(variables).toContain("AWS_REGION=somewhere");
  expect(variables).not.toContain("AWS_CA_BUNDLE");
});

test.each([
  ["that ends at once", "exit 1"],
  ["that runs on without a socket", "exec sleep 60"],
])(
  "a Litestream that is too old is refused, also one %s, and nothing is left behind",
  { timeout },
  async (_how, replicate) => {
    const binary = workspace.path("old-litestream");
    const pidPath = workspace.path("old-litestream.pid");
    const started = `echo $$ > ${pidPath}; ${replicate}`;
    await writeFile(binary, `#!/bin/sh\ncase $1 in version) sleep 0.2; echo 0.5.7;; *) ${started};; esac\n`);
    await chmod(binary, 0o755);
    const options = { binary, configPath: litestreamConfig, dataFolder: workspace.dataFolder };
    const refused = superviseLitestream({ ...options, environment: process.env, log: workspace.log });
    await expect(refused).rejects.toThrow(/0\.5\.7.*0\.5\.17 or newer is needed.*npm run setup/);
    expect(await isRunning(Number(await readFile(pidPath, "utf8")))).toBe(false);
    await expect(stat(locateLitestreamSocket(workspace.dataFolder).folder)).rejects.toThrow("ENOENT");
  },
);

test("versions are compared as numbers", () => {
  for (const told of ["0.5.17\n", "v0.5.18", "0.6.0", "0.10.2", "1.0.0", "litestream 0.5.100 (abc)"])
    expect(() => requireNewEnough("litestream", told), told).not.toThrow();
  for (const told of ["0.5.16", "0.5.7", "0.4.99", "v0.3.13"])
    expect(() => requireNewEnough("litestream", told), told).toThrow("0.5.17 or newer is needed");
  expect(() => requireNewEnough("litestream", "(devel)")).toThrow("does not say which Litestream it is");
});

test("a first start that fails says why, and leaves nothing behind", { timeout }, async () => {
  const refused = superviseLitestream({
    binary: litestreamBinary(),
    configPath: workspace.path("missing.yml"),
    dataFolder: workspace.dataFolder,
    environment: process.env,
    log: workspace.log,
  });
  await expect(refused).rejects.toThrow(/config file not found.*missing\.yml/);
  await expect(stat(locateLitestreamSocket(workspace.dataFolder).folder)).rejects.toThrow("ENOENT");
});

test("litestream.yml says what it is meant to say", { timeout }, async () => {
  // Unknown keys are ignored by Litestream, so a misspelt one shows only in what it does.
  const log = collectLog();
  const configPath = workspace.path("litestream.yml");
  const replica = `{url: "${workspace.replicaUrl("tenant")}"}`;
  const path = workspace.path("tenant.db");
  writeNote(openNotes(path), "something to snapshot");
  const databases = `\ndbs:\n  - path: ${path}\n    replica: ${replica}\n`;
  await writeFile(configPath, (await readFile(litestreamConfig, "utf8")) + databases);
  const litestream = await superviseLitestream({
    binary: litestreamBinary(),
    configPath,
    dataFolder: workspace.dataFolder,
    environment: { ...process.env, LOG_LEVEL: "debug" },
    log,
  });
  try {
    const find = (text: string) => log.lines.find(({ message }) => message.includes(text))?.fields;
    await until("snapshot retention is enforced", () => find("enforcing snapshot retention") !== undefined);
    const { timestamp } = retention.parse(find("enforcing snapshot retention"));
    const days = (Date.now() - Date.parse(timestamp)) / 86_400_000;
    expect(days).toBeGreaterThanOrEqual(8);
    expect(days).toBeLessThan(8.1);
    expect(find("starting L0 retention monitor")).toMatchObject({
      interval: 300_000_000_000,
      retention: 30_000_000_000,
    });
    const { mode } = await stat(locateLitestreamSocket(workspace.dataFolder).socketPath);
    expect(mode & 0o777).toBe(0o600);
  } finally {
    await litestream.stop();
  }
});

test("restarts wait longer each time, up to five seconds", () => {
  expect([1, 2, 3, 6, 7, 2_000].map(restartDelayMs)).toEqual([100, 200, 400, 3_200, 5_000, 5_000]);
});
