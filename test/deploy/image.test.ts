import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parse as parseToml } from "smol-toml";
import { afterAll, expect, test } from "vitest";
import { z } from "zod";
import { signToken } from "../../app/http/token.ts";
import { ownPort } from "../../scripts/support/own-port.ts";
import { buildImageFolder, type ImageFolder } from "./image-folder.ts";

const readyWithinMs = 60_000;
const stopsWithinMs = 60_000;

/** `nobody`, where this test may become another user; else we are one without rights ourselves. */
const isRoot = process.getuid?.() === 0;
const user = isRoot
  ? { uid: 65_534, gid: 65_534 }
  : { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

const folder = mkdtempSync(join(tmpdir(), "holdfast-image-"));
const home = ownFolder("home");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const runShape = z.object({ id: z.string(), status: z.string(), output: z.unknown(), error: z.unknown() });

test(
  "what the image is made of completes a run as a user without rights, wakes, and stops at Fly's signal",
  { timeout: 6 * 60_000 },
  async () => {
    chmodSync(folder, 0o755);
    const image = buildImageFolder(folder, user);
    const { NODE_COMPILE_CACHE: compiled = "" } = image.environment;
    expect(readdirSync(compiled, { recursive: true }).length).toBeGreaterThan(500);
    const secret = randomBytes(32).toString("base64");
    const port = await ownPort();
    const worker = startProcess(image, image.command, {
      PORT: String(port),
      HOLDFAST_STORE: `file:${ownFolder("store")}`,
      HOLDFAST_TOKEN_SECRET: secret,
      HOLDFAST_MASTER_KEY: randomBytes(32).toString("base64"),
      DIGEST_DIR: documents({
        "kelp.md":
          "# Kelp\n\nA holdfast is the root by which kelp keeps hold of the rock. Kelp grows fast in cold water.",
        "rock.md":
          "# Rock\n\nThe sea takes what is not held. A rock that lies under the tide is a good place to hold on to.",
      }),
    });
    try {
      const url = `http://127.0.0.1:${port}`;
      await untilReady(`${url}/readyz`, worker);
      const token = await signToken(
        { tenant: "acme", sub: "image-test", scope: "runs:read runs:write", expiresIn: "10m" },
        secret,
      );
      const run = await completeRun(url, token, worker);
      expect(run, worker.output()).toMatchObject({ status: "completed", error: null });
      expect(JSON.stringify(run.output)).toContain("kelp.md");
      expect(JSON.stringify(run.output)).toContain("rock.md");

      const waker = startProcess(image, ["node", "scripts/waker.ts", "--once"], {
        HOLDFAST_STORE: `file:${join(folder, "store")}`,
        HOLDFAST_TOKEN_SECRET: secret,
        HOLDFAST_WAKE_URL: url,
      });
      expect(await waker.exitCode(), waker.output()).toBe(0);

      const { kill_signal: signal } = z
        .object({ kill_signal: z.enum(["SIGINT", "SIGTERM"]) })
        .parse(parseToml(readFileSync("fly.toml", "utf8")));
      worker.child.kill(signal);
      expect(await worker.exitCode(), worker.output()).toBe(0);
      expect(processesIn(folder)).toEqual([]);
    } finally {
      worker.child.kill("SIGKILL");
    }
  },
);

interface ImageProcess {
  readonly child: ChildProcess;
  /** What it has said, for the failure's message. */
  output(): string;
  /** Throws if the worker has not ended after a minute. */
  exitCode(): Promise<number | null>;
}

function startProcess(
  image: ImageFolder,
  command: readonly string[],
  settings: Readonly<Record<string, string>>,
): ImageProcess {
  const [program = "", ...args] = command;
  let output = "";
  const child = spawn(join(image.root, "usr/local/bin", program), args, {
    cwd: image.workFolder,
    // Nothing of our own environment: the image's, and what a person has to set.
    env: {
      ...image.environment,
      ...settings,
      PATH: `${join(image.root, "usr/local/bin")}:/usr/bin:/bin`,
      HOME: home,
    },
    stdio: ["ignore", "pipe", "pipe"],
    ...(isRoot ? user : {}),
  });
  const ended = once(child, "exit");
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => (output = (output + chunk).slice(-20_000)));
  }
  return {
    child,
    output: () => output,
    async exitCode() {
      const late = sleep(stopsWithinMs, undefined, { ref: false }).then(() => {
        throw new Error(`It has not stopped. It said:\n${output}`);
      });
      await Promise.race([ended, late]);
      return child.exitCode;
    },
  };
}

async function untilReady(url: string, worker: ImageProcess): Promise<void> {
  const deadline = Date.now() + readyWithinMs;
  while (Date.now() < deadline && worker.child.exitCode === null) {
    const answer = await fetch(url, { signal: AbortSignal.timeout(5_000) }).catch(() => undefined);
    await answer?.body?.cancel();
    if (answer?.ok) return;
    await sleep(100);
  }
  throw new Error(
    `The worker did not become ready (exit code ${worker.child.exitCode}). It said:\n${worker.output()}`,
  );
}

async function completeRun(
  url: string,
  token: string,
  worker: ImageProcess,
): Promise<z.infer<typeof runShape>> {
  const answer = await fetch(`${url}/v1/agents/digest/runs?wait=60s`, {
    method: "POST",
    headers: {
      authorization: `Bearer ${token}`,
      "content-type": "application/json",
      "idempotency-key": "image",
    },
    body: JSON.stringify({ input: {} }),
    signal: AbortSignal.timeout(120_000),
  });
  const text = await answer.text();
  if (answer.status !== 200)
    throw new Error(`The run was answered by ${answer.status} ${text}\n${worker.output()}`);
  return runShape.parse(JSON.parse(text));
}

/** A folder of the worker's user. */
function ownFolder(name: string): string {
  const path = join(folder, name);
  mkdirSync(path);
  chownSync(path, user.uid, user.gid);
  return path;
}

function documents(texts: Readonly<Record<string, string>>): string {
  const path = join(folder, "documents");
  mkdirSync(path);
  for (const [name, text] of Object.entries(texts)) writeFileSync(join(path, name), text);
  return path;
}

/** The processes that were started with a path in the folder; none where there is no /proc to tell. */
function processesIn(path: string): string[] {
  if (!existsSync("/proc")) return [];
  const commandLines = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      } catch {
        return "";
      }
    });
  return commandLines.filter((line) => line.includes(path));
}
