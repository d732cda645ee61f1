import { expect, test } from "vitest";
import { loadWakerConfig } from "../../app/config/waker.ts";

const secret = "a-token-secret-of-32-bytes-or-more";
const enough = { HOLDFAST_TOKEN_SECRET: secret, HOLDFAST_WAKE_URL: "http://127.0.0.1:8080/" };

test("the waker needs a store, a token secret and the app's URL", () => {
  expect(loadWakerConfig(enough)).toEqual({
    store: { url: "file:.holdfast/store", settings: { baseDir: process.cwd() } },
    tokenSecrets: [secret],
    url: "http://127.0.0.1:8080",
    everyMs: 60_000,
    logLevel: "info",
  });
  expect(() => loadWakerConfig({})).toThrow(
    /HOLDFAST_TOKEN_SECRET is not set.*\nHOLDFAST_WAKE_URL is not set/,
  );
});

test("on Fly the app's public address is called, unless another is named", () => {
  const fly = { ...enough, FLY_APP_NAME: "kelp", HOLDFAST_STORE: "file:store" };
  expect(loadWakerConfig({ ...fly, HOLDFAST_WAKE_URL: "" }).url).toBe("https://kelp.fly.dev");
  const url = "http://kelp.flycast";
  expect(loadWakerConfig({ ...fly, HOLDFAST_WAKE_URL: url }).url).toBe(url);
});

test("the worker's settings that the waker has no use for are left alone", () => {
  const config = loadWakerConfig({
    ...enough,
    NODE_ENV: "production",
    PORT: "none",
    HOLDFAST_WAKE_EVERY: "5m",
  });
  expect(config.everyMs).toBe(300_000);
});

test.each([
  ["HOLDFAST_WAKE_URL", "kelp.fly.dev"],
  ["HOLDFAST_WAKE_URL", "ftp://kelp"],
  ["HOLDFAST_WAKE_URL", "https://user:password@kelp.fly.dev"],
  ["HOLDFAST_WAKE_EVERY", "0s"],
  ["HOLDFAST_WAKE_EVERY", "2h"],
  ["HOLDFAST_TOKEN_SECRET", "short"],
])("%s=%s stops the start with a line that names it", (name, value) => {
  expect(() => loadWakerConfig({ ...enough, [name]: value })).toThrow(new RegExp(`^${name} `));
});
