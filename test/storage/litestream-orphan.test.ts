import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { locateLitestreamSocket } from "../../app/storage/litestream-socket.ts";
import { isRunning, LitestreamWorkspace, until } from "../support/litestream.ts";

const timeout = 60_000;
const pathWithoutSetpriv = "/var/empty";
let workspace: LitestreamWorkspace;
let started: number[];

beforeEach(async () => {
  workspace = await LitestreamWorkspace.open();
  started = [];
});

afterEach(async () => {
  for (const pid of started) if (await isRunning(pid)) process.kill(pid, "SIGKILL");
  await workspace.close();
}, timeout);

/** A host in a process of its own, and the Litestream that it supervises. */
async function startHost(
  path?: string,
): Promise<{ readonly host: ChildProcess; readonly litestreamPid: number }> {
  const script = join(import.meta.dirname, "../support/litestream-parent.ts");
  const options = path === undefined ? [] : [path];
  const host = spawn(process.execPath, [script, workspace.dataFolder, ...options], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (host.pid !== undefined) started.push(host.pid);
  const [line] = (await once(createInterface(host.stdout), "line")) as [string];
  started.push(Number(line));
  return { host, litestreamPid: Number(line) };
}

async function kill(host: ChildProcess): Promise<void> {
  const exit = once(host, "exit");
  host.kill("SIGKILL");
  await exit;
}

test("a host that is killed takes its Litestream with it", { timeout }, async () => {
  const { host, litestreamPid } = await startHost();
  expect(await isRunning(litestreamPid)).toBe(true);
  await kill(host);
  await until("Litestream is gone", async () => !(await isRunning(litestreamPid)));
});

test(
  "a host that exits without a stop takes its Litestream with it, setpriv or not",
  { timeout },
  async () => {
    const { host, litestreamPid } = await startHost(pathWithoutSetpriv);
    const exit = once(host, "exit");
    host.kill("SIGTERM");
    expect(await exit).toEqual([3, null]);
    await until("Litestream is gone", async () => !(await isRunning(litestreamPid)));
  },
);

test("a Litestream that was left behind is ended by the next start", { timeout }, async () => {
  const { host, litestreamPid } = await startHost(pathWithoutSetpriv);
  await kill(host);
  expect(await isRunning(litestreamPid)).toBe(true);
  const litestream = await workspace.supervise();
  expect(await isRunning(litestreamPid)).toBe(false);
  expect((await litestream.control.info()).pid).not.toBe(litestreamPid);
});

test("one that was left behind and stopped is ended too", { timeout }, async () => {
  const { host, litestreamPid } = await startHost(pathWithoutSetpriv);
  await kill(host);
  process.kill(litestreamPid, "SIGSTOP");
  await workspace.supervise();
  expect(await isRunning(litestreamPid)).toBe(false);
});

test("one whose process id was not written is found by its socket", { timeout }, async () => {
  const { host, litestreamPid } = await startHost(pathWithoutSetpriv);
  await kill(host);
  await writeFile(locateLitestreamSocket(workspace.dataFolder).pidPath, "");
  await workspace.supervise();
  expect(await isRunning(litestreamPid)).toBe(false);
});

test("a process that was given the old process id meanwhile is left alone", { timeout }, async () => {
  const bystander = spawn("sleep", ["600"]);
  try {
    const { folder, pidPath } = locateLitestreamSocket(workspace.dataFolder);
    await mkdir(folder, { mode: 0o700 });
    await writeFile(pidPath, String(bystander.pid));
    await workspace.supervise();
    expect(bystander.exitCode ?? bystander.signalCode).toBeNull();
  } finally {
    bystander.kill("SIGKILL");
  }
});

test("the Litestream of another data folder is left alone", { timeout }, async () => {
  const other = await LitestreamWorkspace.open();
  try {
    const { pid } = await (await other.supervise()).control.info();
    const { folder, pidPath } = locateLitestreamSocket(workspace.dataFolder);
    await mkdir(folder, { mode: 0o700 });
    await writeFile(pidPath, String(pid));
    await workspace.supervise();
    expect(await isRunning(pid)).toBe(true);
  } finally {
    await other.close();
  }
});
