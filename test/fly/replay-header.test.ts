import { expect, test } from "vitest";
import { MalformedReplayError, parseReplay, replayFailed, replaySource } from "./replay-header.ts";

const nothing = {
  instance: null,
  regions: null,
  elsewhere: false,
  state: null,
  timeoutMs: null,
  fallback: null,
};

test("a replay names an instance, regions, a state, a timeout and a fallback", () => {
  expect(parseReplay("instance=00bb33ff;state=t1;timeout=5s;fallback=prefer_self", "kelp")).toEqual({
    ...nothing,
    instance: "00bb33ff",
    state: "t1",
    timeoutMs: 5_000,
    fallback: "prefer_self",
  });
  expect(parseReplay('region="sjc,any"; app=kelp; elsewhere=true; timeout=800ms', "kelp")).toEqual({
    ...nothing,
    regions: ["sjc", "any"],
    elsewhere: true,
    timeoutMs: 800,
  });
});

test("what Fly's document does not have is malformed", () => {
  const malformed = [
    "instance",
    "instance=a;instance=b",
    "region=sjc,any",
    "prefer_instance=a",
    "instance=a;colour=red",
    "elsewhere=perhaps",
    "timeout=soon",
    "timeout=5",
    "fallback=self",
    "instance=a,region=b",
  ];
  for (const header of malformed)
    expect(() => parseReplay(header, "kelp"), header).toThrow(MalformedReplayError);
  expect(() => parseReplay("app=other", "kelp")).toThrow(/there is no app "other"/);
});

test("a replayed request tells where it comes from, and one that fell back why", () => {
  const replay = parseReplay("instance=b;state=s;timeout=2s", "kelp");
  expect(replaySource(replay, { id: "a", region: "fra" })).toMatch(
    /^instance=a;region=fra;t=\d{16};state=s$/,
  );
  expect(replayFailed({ replay, appName: "kelp", source: "a", reason: "timeout", elapsedMs: 2_000.4 })).toBe(
    "instance=b;app=kelp;replay_source=a;reason=timeout;elapsed_ms=2000",
  );
});
