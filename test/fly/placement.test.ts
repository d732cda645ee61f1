import { expect, test } from "vitest";
import { placeRequest, type Candidate, type Placement, type Wanted } from "./placement.ts";

const rules = {
  autoStart: true,
  softLimit: 2,
  hardLimit: 4,
  distance: (region: string) => ["fra", "ams", "syd"].indexOf(region),
  random: () => 0,
};

/** `id region state load`, one Machine each. */
function machines(...lines: readonly string[]): readonly Candidate[] {
  return lines.map((line) => {
    const [id = "", region = "", state = "", load = "0"] = line.split(" ");
    return { id, region, state: state as Candidate["state"], load: Number(load) };
  });
}

function placed(wanted: Wanted, ...lines: readonly string[]): Placement {
  return placeRequest(machines(...lines), wanted, rules);
}

test("the nearest region's least loaded Machine gets the request, whatever others are idle further away", () => {
  const all = ["a syd started 0", "b fra started 3", "c fra started 2", "d ams started 0"];
  expect(placed({}, ...all)).toEqual({ kind: "machine", id: "c" });
});

test("no Machine gets more than its hard limit: the next region is asked, and then the request waits", () => {
  expect(placed({}, "a fra started 4", "b syd started 3")).toEqual({ kind: "machine", id: "b" });
  expect(placed({}, "a fra started 4", "b syd started 4")).toEqual({ kind: "full" });
});

test("a stopped or suspended Machine is started when all that run are at their soft limit, the nearest first", () => {
  expect(placed({}, "a fra started 2", "b syd stopped", "c ams suspended")).toEqual({
    kind: "start",
    id: "c",
  });
  expect(placed({}, "a fra stopped", "b syd started 1")).toEqual({ kind: "machine", id: "b" });
  expect(placed({}, "a syd stopped", "b fra stopped")).toEqual({ kind: "start", id: "b" });
});

test("a Machine that was never started, or is between two states, gets nothing", () => {
  expect(placed({}, "a fra created", "b fra stopping", "c fra restarting")).toEqual({ kind: "none" });
});

test("without auto-start only what runs is used", () => {
  const asleep = machines("a fra stopped", "b fra suspended");
  expect(placeRequest(asleep, {}, { ...rules, autoStart: false })).toEqual({ kind: "none" });
});

test("an instance that was asked for is the only one, and is started if need be", () => {
  const all = ["a fra started 0", "b syd stopped", "c syd started 4"];
  expect(placed({ instance: "b" }, ...all)).toEqual({ kind: "start", id: "b" });
  expect(placed({ instance: "c" }, ...all)).toEqual({ kind: "full" });
  expect(placed({ instance: "z" }, ...all)).toEqual({ kind: "none" });
});

test("regions that were asked for are tried in their order, and no other but by `any`", () => {
  const all = ["a fra started 0", "b ams started 0", "c syd started 0"];
  expect(placed({ regions: ["syd", "ams"] }, ...all)).toEqual({ kind: "machine", id: "c" });
  expect(placed({ regions: ["lhr"] }, ...all)).toEqual({ kind: "none" });
  expect(placed({ regions: ["lhr", "any"] }, ...all)).toEqual({ kind: "machine", id: "a" });
  expect(placed({ preferredRegions: ["lhr", "ams"] }, ...all)).toEqual({ kind: "machine", id: "b" });
});

test("the Machine that a request is to be kept from does not get it", () => {
  expect(placed({ except: "a" }, "a fra started 0", "b syd started 0")).toEqual({
    kind: "machine",
    id: "b",
  });
});

test("among equals chance decides", () => {
  const all = machines("a fra started 0", "b fra started 0");
  const ids = [0, 0.99].map((chance) => placeRequest(all, {}, { ...rules, random: () => chance }));
  expect(ids).toEqual([
    { kind: "machine", id: "a" },
    { kind: "machine", id: "b" },
  ]);
});
