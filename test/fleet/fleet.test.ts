import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Random } from "../crash/drill/random.ts";
import { seed } from "../crash/drill/seed.ts";
import { Fleet, ttlMs, type FleetHost } from "./fleet.ts";
import { FleetTraffic } from "./traffic.ts";
import { judge, longestGapMs } from "./verdict.ts";

const tenants = ["amber", "birch", "cedar"] as const;

/** Two, and more in a long drill. */
const deploysAtAll = Math.max(2, Number(process.env["DRILL_ROUNDS"] ?? 0) / 5);

let fleet: Fleet;
let traffic: FleetTraffic;

beforeEach(async () => {
  fleet = await Fleet.open(["east", "east", "west"]);
  traffic = await FleetTraffic.start(fleet, tenants, new Random(seed));
  // Every tenant has a host before anything happens.
  await sleep(2_000);
});

afterEach(async () => {
  await traffic.stop();
  await fleet.close();
});

/** Hosts that have tenants: what happens to another one shows nothing. */
function busiest(): FleetHost {
  const counts = new Map<string, number>();
  for (const { host } of traffic.acknowledged) counts.set(host, (counts.get(host) ?? 0) + 1);
  const [most] = [...counts].toSorted(([, a], [, b]) => b - a);
  const found = fleet.hosts.find(({ life }) => life?.events("listening")[0]?.["host"] === most?.[0]);
  if (found === undefined) throw new Error("No host has acknowledged anything.");
  return found;
}

/** Ends the traffic, says how it went, and gives what should not have been. */
async function wrongs(what: string, since: number): Promise<Wrongs> {
  const until = performance.now();
  await traffic.stop();
  const { lost, unfinished, byTwoHosts, acknowledged } = await judge(fleet, traffic.acknowledged);
  const gaps = tenants.map((id) => longestGapMs(traffic.acknowledged, id, [since, until]));
  process.stdout.write(
    `${what}: ${acknowledged} acknowledged, ${traffic.repeated} repeated, ${lost.length} lost, ${byTwoHosts.length} by two hosts; longest without service ${Math.round(Math.max(...gaps))} ms (ttl ${ttlMs} ms), seed ${seed}\n`,
  );
  return { lost, unfinished, byTwoHosts, answers: traffic.wrong };
}

type Wrongs = Readonly<Record<"lost" | "unfinished" | "byTwoHosts" | "answers", readonly string[]>>;

const nothing: Wrongs = { lost: [], unfinished: [], byTwoHosts: [], answers: [] };

test("a host that stands still for two ttl loses its tenants, and nothing that was acknowledged", async () => {
  const host = busiest();
  const since = performance.now();
  const goOn = host.freeze();
  const { life } = host;
  await sleep(2 * ttlMs);
  goOn();
  expect((await life?.exited)?.code).toBe(3);
  await host.start();
  await sleep(1_000);
  expect(await wrongs("stood still for two ttl", since)).toEqual(nothing);
}, 120_000);

test("the tenants of a host that is killed with its disk are served by others", async () => {
  const since = performance.now();
  await busiest().lose();
  await sleep(2 * ttlMs);
  expect(await wrongs("killed, disk lost", since)).toEqual(nothing);
}, 120_000);

test("a host that alone cannot reach the store acknowledges nothing, and is fenced", async () => {
  const host = busiest();
  const since = performance.now();
  host.store.strike("black-hole");
  await sleep(3 * ttlMs);
  host.store.heal();
  expect((await host.life?.exited)?.code).toBe(3);
  host.life = null;
  await sleep(500);
  expect(await wrongs("cut off from the store", since)).toEqual(nothing);
}, 120_000);

test(
  "a deploy that replaces every host twice under load loses nothing",
  async () => {
    const since = performance.now();
    for (let deploys = 0; deploys < deploysAtAll; deploys += 1) await fleet.roll();
    expect(await wrongs(`rolled ${deploysAtAll} times`, since)).toEqual(nothing);
  },
  60_000 * deploysAtAll,
);

test("a store that is slow, resets connections and answers 503 loses nothing", async () => {
  const since = performance.now();
  const random = new Random(seed);
  for (let changes = 0; changes < 12; changes += 1) {
    const { store } = fleet.hosts[random.between(0, fleet.hosts.length - 1)] ?? busiest();
    const fault = random.pick(["reset-before", "reset-after", "cut-short", "unavailable", "slow"]);
    if (fault === "slow") store.latencyMs = 120;
    else store.strike(fault, { times: random.between(1, 10) });
    await sleep(500);
    store.latencyMs = 0;
  }
  for (const { store } of fleet.hosts) store.heal();
  await sleep(1_000);
  expect(await wrongs("slow, reset, 503", since)).toEqual(nothing);
}, 120_000);
