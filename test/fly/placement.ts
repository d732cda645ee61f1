import type { MachineState } from "./machine.ts";

/** What the proxy knows of a Machine, and how many of its requests are there. */
export interface Candidate {
  readonly id: string;
  readonly region: string;
  /** As the proxy sees it, which may be late. */
  readonly state: MachineState;
  readonly load: number;
}

/** Which Machines a request may go to. */
export interface Wanted {
  /** This one only. */
  readonly instance?: string;
  /** These only, in order of preference; `any` is every region. */
  readonly regions?: readonly string[];
  /** These first, and then the nearest. */
  readonly preferredRegions?: readonly string[];
  /** Not this one. */
  readonly except?: string;
}

export interface PlacementRules {
  /** `auto_start_machines`. */
  readonly autoStart: boolean;
  readonly softLimit: number;
  readonly hardLimit: number;
  /** How far a region is from the edge that took the request; only the order counts. */
  readonly distance: (region: string) => number;
  /** From 0 to below 1, to choose among equals. */
  readonly random: () => number;
}

export type Placement =
  | { readonly kind: "machine"; readonly id: string }
  /** This one is to be started, and gets the request. */
  | { readonly kind: "start"; readonly id: string }
  /** All that could take it are at their hard limit. */
  | { readonly kind: "full" }
  /** None is there, or none that runs or may be started. */
  | { readonly kind: "none" };

/**
 * Where Fly's proxy sends a request (reference/load-balancing, reference/fly-proxy-autostop-autostart): to the least loaded
 * Machine of the nearest region, while one there is below its hard limit; but if all that run are at or above their soft
 * limit, or none runs, the nearest stopped or suspended one is started for it.
 */
export function placeRequest(
  machines: readonly Candidate[],
  wanted: Wanted,
  rules: PlacementRules,
): Placement {
  const allowed = machines.filter((machine) => isWanted(machine, wanted));
  const rank = ({ region }: Candidate): number => rankOf(region, wanted, rules);
  const running = allowed.filter(({ state }) => state === "started");
  const asleep = allowed.filter(({ state }) => state === "stopped" || state === "suspended");
  if (rules.autoStart && running.every(({ load }) => load >= rules.softLimit)) {
    const [next] = asleep.toSorted((a, b) => rank(a) - rank(b));
    if (next !== undefined) return { kind: "start", id: next.id };
  }
  const below = running.filter(({ load }) => load < rules.hardLimit);
  if (below.length === 0) return { kind: running.length > 0 ? "full" : "none" };
  // Which of two regions that are equally far is nearer is not for us to say: their Machines are equals.
  const nearest = Math.min(...below.map(rank));
  const there = below.filter((machine) => rank(machine) === nearest);
  const least = Math.min(...there.map(({ load }) => load));
  const equals = there.filter(({ load }) => load === least);
  const chosen = equals[Math.floor(rules.random() * equals.length)];
  return chosen === undefined ? { kind: "none" } : { kind: "machine", id: chosen.id };
}

function isWanted({ id, region }: Candidate, { instance, regions, except }: Wanted): boolean {
  if (id === except || (instance !== undefined && id !== instance)) return false;
  return regions === undefined || regions.includes(region) || regions.includes("any");
}

/** The regions that were named come first, in their order; then it is distance that counts. */
function rankOf(region: string, wanted: Wanted, { distance }: PlacementRules): number {
  const order = wanted.regions ?? wanted.preferredRegions ?? [];
  const place = order.indexOf(region);
  return place === -1 ? distance(region) : place - order.length;
}
