import { expect, test } from "vitest";
import { arrivalOf, forwardedBy } from "../../app/http/arrival.ts";

const final = { kind: "forwarded", failed: undefined };
const replayed = (state: string): Record<string, string> => ({
  "fly-replay-src": `instance=11aa44ee;region=ord;t=1${state}`,
});

test.each([
  ["a client", {}, { kind: "first" }],
  ["a host that says who has the tenant", { "holdfast-forwarded": forwardedBy("h", "holder") }, final],
  ["a host of another region", { "holdfast-forwarded": forwardedBy("h", "region") }, final],
  ["a host that stops", { "holdfast-forwarded": forwardedBy("h", "draining") }, { kind: "handed-over" }],
  ["someone who made the marker up", { "holdfast-forwarded": "" }, final],
  ["a replay", replayed(";state=holder"), final],
  ["a replay without a state", replayed(""), final],
  ["a replay by a host that stops", replayed(";state=draining"), { kind: "handed-over" }],
  [
    "a replay by a host that stops, sent on by its next one",
    { ...replayed(";state=draining"), "holdfast-forwarded": forwardedBy("h", "holder") },
    final,
  ],
  [
    "a replay that failed",
    { ...replayed(";state=holder"), "fly-replay-failed": "instance=00bb33ff;reason=no_candidate" },
    { kind: "forwarded", failed: { instance: "00bb33ff", how: "refused" } },
  ],
])("a request by %s is known as such on Fly", (_whom, headers, arrival) => {
  expect(arrivalOf(new Headers(headers), "fly")).toEqual(arrival);
});

test("off Fly its headers say nothing", () => {
  const headers = { ...replayed(";state=holder"), "fly-replay-failed": "reason=timeout" };
  expect(arrivalOf(new Headers(headers), "proxy")).toEqual({ kind: "first" });
});
