import { expect, test } from "vitest";
import { flyReplay, readFailedReplay, readReplayState } from "../../app/http/fly-replay.ts";

test.each([
  [{ instance: "00bb33ff" }, "instance=00bb33ff;state=holder;timeout=5s;fallback=prefer_self"],
  [{ region: "ams" }, "region=ams;state=holder;timeout=5s;fallback=prefer_self"],
  [{ elsewhere: true } as const, "elsewhere=true;state=holder;timeout=5s;fallback=prefer_self"],
])("a replay to %j comes back when it reaches nobody", (target, header) => {
  expect(flyReplay(target, "holder")).toBe(header);
});

test.each([
  { instance: "laptop:/data" },
  { instance: "a;fallback=force_self" },
  { instance: "" },
  { region: "local" },
  { region: "ams,any" },
])("%j is no name of Fly's, and no replay is made of it", (target) => {
  expect(flyReplay(target, "holder")).toBeUndefined();
});

test.each([
  ["timeout", "silent"],
  ["retries_exhausted", "refused"],
  ["no_candidate", "refused"],
])("a replay that failed by %s counts the Machine as %s", (reason, how) => {
  const header = `instance=00bb33ff;app=x;region=iad;replay_source=11aa44ee;reason=${reason};elapsed_ms=5000`;
  expect(readFailedReplay(header)).toEqual({ instance: "00bb33ff", how });
});

test.each(["", ";;", "reason", "instance", "=x;=y"])(
  "a header %j that says nothing is no error",
  (header) => {
    expect(readFailedReplay(header)).toEqual({ instance: undefined, how: "silent" });
    expect(readReplayState(header)).toBeUndefined();
  },
);

test("the state of a replay is read back", () => {
  const source = "instance=11aa44ee;region=ord;t=1700000000000000;state=draining";
  expect(readReplayState(source)).toBe("draining");
  expect(readReplayState('t=1; state="holder" ')).toBe("holder");
});
