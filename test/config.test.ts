import { hostname } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { ConfigError } from "../app/config/settings.ts";
import { loadConfig } from "../app/config.ts";

const secret = "a-token-secret-of-32-bytes-or-more";
const masterKey = Buffer.alloc(32, 7).toString("base64");
const otherKey = Buffer.alloc(32, 8).toString("base64");
const enough = { HOLDFAST_TOKEN_SECRET: secret };

test("a token secret is all that a start needs", () => {
  expect(loadConfig(enough)).toEqual({
    production: false,
    port: 8080,
    store: {
      url: "file:.holdfast/store",
      settings: { baseDir: process.cwd() },
    },
    dataFolder: path.resolve(".holdfast/data"),
    agentsFolder: path.resolve("app/agents"),
    durability: "replicated",
    tokenSecrets: [secret],
    masterKeys: [],
    advertise: "http://127.0.0.1:8080",
    region: "local",
    routing: "proxy",
    machine: `${hostname()}:${path.resolve(".holdfast/data")}`,
    hostTtlMs: 15_000,
    idleMs: 30_000,
    historyMs: 604_800_000,
    releaseMs: 600_000,
    exitIdleMs: null,
    maxOpen: 500,
    maxDiskBytes: 4e9,
    litestream: null,
    logLevel: "info",
    digestFolder: path.resolve("node_modules"),
    refundUrl: null,
  });
});

test("every setting of the table is read", () => {
  expect(
    loadConfig({
      PORT: "9000",
      HOLDFAST_STORE: "s3://bucket/some/prefix/?endpoint=https://fly.storage.tigris.dev&region=auto",
      HOLDFAST_DATA: "/data",
      HOLDFAST_AGENTS: "/agents",
      HOLDFAST_DURABILITY: "local",
      HOLDFAST_TOKEN_SECRET: `${secret}-new, ${secret}-old`,
      HOLDFAST_MASTER_KEY: `b:${otherKey},a:${masterKey}`,
      HOLDFAST_ADVERTISE: "http://10.0.0.1:9000/",
      HOLDFAST_REGION: "ams",
      HOLDFAST_HOST_TTL: "3s",
      HOLDFAST_IDLE: "5 minutes",
      HOLDFAST_LITESTREAM: "/usr/bin/litestream",
      HOLDFAST_LOG: "debug",
      AWS_ACCESS_KEY_ID: "id",
      AWS_SECRET_ACCESS_KEY: "key",
      DIGEST_DIR: "/documents",
      REFUND_URL: "https://pay.example/refunds",
      NODE_ENV: "production",
      FLY_MACHINE_ID: "4d891",
      HOLDFAST_RELEASE: "1h",
      HOLDFAST_EXIT_IDLE: "5m",
      HOLDFAST_HISTORY: "14 days",
      HOLDFAST_MAX_OPEN: "50",
      HOLDFAST_MAX_DISK: "1.5GiB",
    }),
  ).toEqual({
    production: true,
    port: 9000,
    store: {
      url: "s3://bucket/some/prefix/?endpoint=https://fly.storage.tigris.dev&region=auto",
      settings: { baseDir: process.cwd(), credentials: { accessKeyId: "id", secretAccessKey: "key" } },
    },
    dataFolder: "/data",
    agentsFolder: "/agents",
    durability: "local",
    tokenSecrets: [`${secret}-new`, `${secret}-old`],
    masterKeys: [
      { id: "b", key: Buffer.alloc(32, 8) },
      { id: "a", key: Buffer.alloc(32, 7) },
    ],
    advertise: "http://10.0.0.1:9000",
    region: "ams",
    routing: "proxy",
    machine: "4d891",
    hostTtlMs: 3_000,
    idleMs: 300_000,
    historyMs: 1_209_600_000,
    releaseMs: 3_600_000,
    exitIdleMs: 300_000,
    maxOpen: 50,
    maxDiskBytes: 1.5 * 2 ** 30,
    litestream: "/usr/bin/litestream",
    logLevel: "debug",
    digestFolder: "/documents",
    refundUrl: "https://pay.example/refunds",
  });
});

test("the bucket of `fly storage create` is the store when none is named", () => {
  const config = loadConfig({
    ...enough,
    FLY_APP_NAME: "app",
    FLY_PRIVATE_IP: "fdaa::3",
    FLY_REGION: "fra",
    BUCKET_NAME: "tigris-bucket",
    AWS_ENDPOINT_URL_S3: "https://fly.storage.tigris.dev",
    AWS_REGION: "auto",
    AWS_ACCESS_KEY_ID: "id",
    AWS_SECRET_ACCESS_KEY: "key",
  });
  expect(config.store).toMatchObject({
    url: "s3://tigris-bucket?endpoint=https%3A%2F%2Ffly.storage.tigris.dev",
    settings: { region: "auto", credentials: { accessKeyId: "id", secretAccessKey: "key" } },
  });
  expect(config).toMatchObject({ advertise: "http://[fdaa::3]:8080", region: "fra", routing: "fly" });
});

test("an endpoint in the URL wins over the one of the platform", () => {
  const platform = {
    AWS_ACCESS_KEY_ID: "id",
    AWS_SECRET_ACCESS_KEY: "key",
    AWS_ENDPOINT_URL_S3: "https://fly.storage.tigris.dev",
  };
  const url = (store: string) => loadConfig({ ...enough, ...platform, HOLDFAST_STORE: store }).store.url;
  expect(url("s3://bucket?endpoint=http://127.0.0.1:9000")).toBe(
    "s3://bucket?endpoint=http://127.0.0.1:9000",
  );
  expect(url("s3://bucket?region=auto")).toBe(
    "s3://bucket?region=auto&endpoint=https%3A%2F%2Ffly.storage.tigris.dev",
  );
  expect(url("file:store")).toBe("file:store");
});

test("a single master key needs no id", () => {
  expect(loadConfig({ ...enough, HOLDFAST_MASTER_KEY: masterKey }).masterKeys).toEqual([
    { id: "default", key: Buffer.alloc(32, 7) },
  ]);
});

test("a host may be told never to end by itself, and disks to know no bound", () => {
  const config = loadConfig({ ...enough, HOLDFAST_EXIT_IDLE: "never", HOLDFAST_MAX_DISK: "unlimited" });
  expect(config).toMatchObject({ exitIdleMs: null, maxDiskBytes: null });
});

test.each([
  ["512MB", 512e6],
  ["1 KB", 1e3],
  ["2TB", 2e12],
  ["1GiB", 2 ** 30],
])("a disk of %s holds %d bytes", (size, bytes) => {
  expect(loadConfig({ ...enough, HOLDFAST_MAX_DISK: size }).maxDiskBytes).toBe(bytes);
});

test("an empty setting counts as unset", () => {
  expect(loadConfig({ ...enough, PORT: "", HOLDFAST_STORE: " ", FLY_APP_NAME: "" }).port).toBe(8080);
});

test.each([
  ["HOLDFAST_TOKEN_SECRET", ""],
  ["HOLDFAST_TOKEN_SECRET", "short-and-secret"],
  ["HOLDFAST_TOKEN_SECRET", `${secret},short-and-secret`],
  ["HOLDFAST_TOKEN_SECRET", `${secret},${secret}2,${secret}3`],
  ["HOLDFAST_MASTER_KEY", "c2hvcnQgYW5kIHNlY3JldA=="],
  ["HOLDFAST_MASTER_KEY", `${masterKey},${otherKey}`],
  ["HOLDFAST_MASTER_KEY", `a:${masterKey},a:${otherKey}`],
  ["PORT", "http"],
  ["PORT", "65536"],
  ["PORT", "-1"],
  ["HOLDFAST_DURABILITY", "eventual"],
  ["HOLDFAST_HOST_TTL", "soon"],
  ["HOLDFAST_HOST_TTL", "0s"],
  ["HOLDFAST_IDLE", "-3s"],
  ["HOLDFAST_RELEASE", "never"],
  ["HOLDFAST_EXIT_IDLE", "0s"],
  ["HOLDFAST_MAX_OPEN", "0"],
  ["HOLDFAST_MAX_DISK", "10"],
  ["HOLDFAST_MAX_DISK", "-1GB"],
  ["HOLDFAST_LOG", "loud"],
  ["HOLDFAST_ADVERTISE", "10.0.0.1:80"],
  ["HOLDFAST_STORE", "/var/store"],
  ["HOLDFAST_STORE", "file:"],
  ["HOLDFAST_STORE", "s3://"],
  ["HOLDFAST_STORE", "s3://Bucket_Name"],
  ["HOLDFAST_STORE", "s3://id:short-and-secret@bucket"],
  ["HOLDFAST_STORE", "s3://bucket/a//b"],
  ["HOLDFAST_STORE", "s3://bucket?endpoint=storage.example"],
  ["HOLDFAST_STORE", "s3://bucket?forcePathStyle=yes"],
  ["HOLDFAST_STORE", "s3://bucket?secret=short-and-secret"],
])("%s=%s stops the start with one line that names it", (name, value) => {
  const credentials = { AWS_ACCESS_KEY_ID: "id", AWS_SECRET_ACCESS_KEY: "key" };
  const problems = problemsOf({ ...enough, ...credentials, [name]: value });
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatch(new RegExp(`^${name} .+\\.$`));
  expect(problems[0]).not.toContain("short-and-secret");
});

test("all problems show at once, and on Fly each with the command that mends it", () => {
  const problems = problemsOf({ FLY_APP_NAME: "app", NODE_ENV: "production", PORT: "x" });
  expect(problems).toHaveLength(4);
  for (const name of ["PORT", "HOLDFAST_STORE", "HOLDFAST_TOKEN_SECRET", "HOLDFAST_MASTER_KEY"])
    expect(problems.join("\n")).toContain(`fly secrets set ${name}=`);
});

test("a bucket without credentials names each variable that is missing", () => {
  const problems = problemsOf({ ...enough, HOLDFAST_STORE: "s3://bucket" });
  expect(problems).toHaveLength(2);
  expect(problems[0]).toContain("AWS_ACCESS_KEY_ID is not set");
  expect(problems[1]).toContain("AWS_SECRET_ACCESS_KEY is not set");
});

test("a session token is refused, since Litestream would drop it", () => {
  const store = { HOLDFAST_STORE: "s3://bucket", AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b" };
  expect(problemsOf({ ...enough, ...store, AWS_SESSION_TOKEN: "c" })[0]).toContain("AWS_SESSION_TOKEN");
});

test("the default folder may be named on Fly by whoever knows what that means", () => {
  expect(
    loadConfig({ ...enough, FLY_APP_NAME: "app", HOLDFAST_STORE: "file:.holdfast/store" }).store.url,
  ).toBe("file:.holdfast/store");
});

test("production refuses to start without a master key", () => {
  expect(problemsOf({ ...enough, NODE_ENV: "production" }).join()).toMatch(/^HOLDFAST_MASTER_KEY is not set/);
});

function problemsOf(environment: NodeJS.ProcessEnv): readonly string[] {
  try {
    loadConfig(environment);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}
