import { expect, test } from "vitest";
import { Markers, type Marker } from "../../app/http/marker.ts";
import { oldSecret, secret } from "./client.ts";

const otherSecret = "a-secret-that-only-one-host-has-32-bytes-long";
const marker: Marker = { tenantId: "acme", from: "host-1", errand: "holder", to: "host-2" };
const signed = new Markers([secret]).sign(marker);

test.each([marker, { ...marker, errand: "draining" as const }, { ...marker, to: null }])(
  "%j is read back by a host that has the secret",
  (each) => {
    expect(new Markers([secret]).read(new Markers([secret]).sign(each), "acme")).toEqual(each);
  },
);

test("two hosts of which each signs first with what the other lacks know each other by the secret that they share", () => {
  const here = new Markers([otherSecret, secret]);
  const there = new Markers([oldSecret, secret]);
  expect(there.read(here.sign(marker), "acme")).toEqual(marker);
  expect(here.read(there.sign(marker), "acme")).toEqual(marker);
});

test("a marker is of letters, digits, dots, hyphens and underscores, which Fly's replays take", () => {
  expect(new Markers([secret, oldSecret]).sign({ ...marker, to: null })).toMatch(/^[\w.-]+$/);
});

const signature = signed.split(".")[3] ?? "";
test.each([
  ["nothing", ""],
  ["what a client makes up", "host-1;region"],
  ["one without a signature", "host-1.region.host-2"],
  ["an empty signature", "host-1.region.host-2."],
  ["another errand under the same signature", `host-1.region.host-2.${signature}`],
  ["another host under the same signature", `host-1.holder.host-3.${signature}`],
  ["no host under the same signature", `host-1.holder..${signature}`],
  ["an errand that there is not", `host-1.constructor.host-2.${signature}`],
  ["a signature behind more of them than there are secrets", `host-1.holder.host-2.x.x.${signature}`],
  ["one that another deployment has signed", new Markers([otherSecret]).sign(marker)],
  ["one that is signed with nothing", new Markers([]).sign(marker)],
])("%s is no marker", (_what, text) => {
  expect(new Markers([secret]).read(text, "acme")).toBeUndefined();
});

test("a marker is of one tenant's request", () => {
  expect(new Markers([secret]).read(signed, "globex")).toBeUndefined();
});
