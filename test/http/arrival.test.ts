import { expect, test } from "vitest";
import { arrivalOf, type Routing } from "../../app/http/arrival.ts";
import { Markers, type Errand } from "../../app/http/marker.ts";
import { secret } from "./client.ts";

const markers = new Markers([secret]);
const final = { kind: "forwarded", failed: undefined };

function by(errand: Errand, to: string | null = "host-2"): string {
  return markers.sign({ tenantId: "acme", from: "host-1", errand, to });
}

function replayed(state: string): Record<string, string> {
  return { "fly-replay-src": `instance=11aa44ee;region=ord;t=1${state}` };
}

function arrived(headers: Record<string, string>, routing: Routing) {
  const readMarker = (text: string) => markers.read(text, "acme");
  return arrivalOf(new Headers(headers), { routing, hostId: "host-2", readMarker });
}

test.each([
  ["a client", {}, { kind: "first" }],
  ["a host that says who has the tenant", { "holdfast-forwarded": by("holder") }, final],
  ["a host of another region", { "holdfast-forwarded": by("region") }, final],
  ["a host that stops", { "holdfast-forwarded": by("draining") }, { kind: "handed-over" }],
  ["someone who made the marker up", { "holdfast-forwarded": "host-1;region" }, { kind: "first" }],
  [
    "a host that means another one",
    { "holdfast-forwarded": by("holder", "host-3") },
    { kind: "misdirected", meant: "host-3" },
  ],
  ["a replay", replayed(`;state=${by("holder", null)}`), final],
  ["a replay whose state someone made up", replayed(";state=region"), { kind: "first" }],
  ["a replay without a state", replayed(""), { kind: "first" }],
  ["a replay by a host that stops", replayed(`;state=${by("draining", null)}`), { kind: "handed-over" }],
  [
    "a replay by a host that stops, sent on by its next one",
    { ...replayed(`;state=${by("draining", null)}`), "holdfast-forwarded": by("holder") },
    final,
  ],
  [
    "a replay that failed",
    { ...replayed(";state=x"), "fly-replay-failed": "instance=00bb33ff;reason=no_candidate" },
    { kind: "forwarded", failed: { instance: "00bb33ff", how: "refused" } },
  ],
])("a request by %s is known as such on Fly", (_whom, headers, arrival) => {
  expect(arrived(headers, "fly")).toEqual(arrival);
});

test("off Fly its headers say nothing", () => {
  const headers = { ...replayed(`;state=${by("holder", null)}`), "fly-replay-failed": "reason=timeout" };
  expect(arrived(headers, "proxy")).toEqual({ kind: "first" });
});
