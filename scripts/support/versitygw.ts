import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { AwsClient } from "aws4fetch";
import { ownPort } from "./own-port.ts";

const bucket = "holdfast-test";
const region = "us-east-1";
const credentials = { accessKeyId: "holdfast-test-key", secretAccessKey: "holdfast-test-secret" };
const startBoundMs = 60_000;
const stopBoundMs = 10_000;

/** A real S3 server on loopback with one empty bucket. */
export interface VersityGw {
  readonly endpoint: string;
  readonly port: number;
  readonly pid: number;
  /** Where the objects lie as files, below the bucket's name. */
  readonly folder: string;
  readonly bucket: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** A setting for HOLDFAST_STORE. */
  storeUrl(prefix?: string): string;
  /** Ends the server; removes the folder if the server had made it. */
  stop(): Promise<void>;
}

export interface VersityGwOptions {
  /** Taken over from a server that was stopped, to have it come back. */
  readonly port?: number;
  /** The objects of an earlier server; without it a temporary folder. */
  readonly folder?: string;
}

/** Throws if the binary is missing: a suite that needs a real store is never skipped. */
export async function startVersityGw(options: VersityGwOptions = {}): Promise<VersityGw> {
  const binary = findVersityGw();
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), "holdfast-versitygw-")));
  const port = options.port ?? (await ownPort());
  const { child, output } = launch(binary, port, folder);
  const endpoint = `http://127.0.0.1:${port}`;
  const stop = async (): Promise<void> => {
    await end(child);
    if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
  };
  try {
    await makeBucket(endpoint, child);
  } catch (error) {
    await stop();
    throw new Error(`versitygw did not come up on ${endpoint}: ${output()}`, { cause: error });
  }
  return {
    endpoint,
    port,
    pid: child.pid ?? 0,
    folder,
    bucket,
    credentials,
    storeUrl: (prefix = "") =>
      `s3://${bucket}/${prefix}?endpoint=${encodeURIComponent(endpoint)}&region=${region}&forcePathStyle=true`,
    stop,
  };
}

function findVersityGw(): string {
  const name = "versitygw";
  const candidates = [
    process.env["VERSITYGW"],
    ...(process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, name)),
    goBinary(name),
    join(import.meta.dirname, "../../.cache/bin", name),
  ];
  const found = candidates.find((path) => path !== undefined && path !== "" && existsSync(path));
  if (found === undefined) throw new Error("versitygw is missing: run npm run setup -- --tests");
  return found;
}

function goBinary(name: string): string | undefined {
  try {
    const path = execFileSync("go", ["env", "GOPATH"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    return join(path.trim(), "bin", name);
  } catch {
    return undefined;
  }
}

function launch(
  binary: string,
  port: number,
  folder: string,
): { readonly child: ChildProcess; readonly output: () => string } {
  // Without --keep-alive it closes the connection after every answer, which no real service does.
  const flags = [
    "--port",
    `127.0.0.1:${port}`,
    "--keep-alive",
    "--quiet",
    "--region",
    region,
    "posix",
    folder,
  ];
  const child = spawn(binary, flags, {
    env: {
      PATH: process.env["PATH"],
      ROOT_ACCESS_KEY: credentials.accessKeyId,
      ROOT_SECRET_KEY: credentials.secretAccessKey,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-4_000);
  };
  child.stdout?.on("data", keep);
  child.stderr?.on("data", keep);
  child.on("error", (error) => keep(Buffer.from(error.message)));
  const killAtExit = (): void => {
    child.kill("SIGKILL");
  };
  process.once("exit", killAtExit);
  child.once("exit", () => process.off("exit", killAtExit));
  return { child, output: () => output };
}

async function makeBucket(endpoint: string, child: ChildProcess): Promise<void> {
  const client = new AwsClient({ ...credentials, service: "s3", region, retries: 0 });
  const deadline = performance.now() + startBoundMs;
  let lastError: unknown;
  while (performance.now() < deadline && child.exitCode === null && child.signalCode === null) {
    try {
      const answer = await client.fetch(`${endpoint}/${bucket}`, {
        method: "PUT",
        signal: AbortSignal.timeout(5_000),
      });
      const text = await answer.text();
      if (answer.ok || text.includes("BucketAlreadyOwnedByYou")) return;
      lastError = new Error(`making the bucket answered ${answer.status}: ${text}`);
    } catch (error) {
      lastError = error;
    }
    await sleep(30);
  }
  throw new Error(`no answer; its exit code is ${child.exitCode}`, { cause: lastError });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const exited = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), stopBoundMs);
  await exited;
  clearTimeout(timer);
}
