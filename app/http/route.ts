import { setTimeout as sleep } from "node:timers/promises";
import type { Context } from "hono";
import { DrainingError, ElsewhereError, type Arrived, type Holder, type Host } from "../host/host.ts";
import { arrivalOf, notHereHeader, type Arrival, type Routing } from "./arrival.ts";
import { wholeBody } from "./body.ts";
import { endToEnd } from "./end-to-end.ts";
import {
  cameByFly,
  flyReplay,
  maxReplayedBytes,
  type FailedReplay,
  type ReplayTarget,
} from "./fly-replay.ts";
import type { Forwarder, Outcome } from "./forward.ts";
import { forwardedRequest } from "./forwarded-request.ts";
import type { Errand, Markers } from "./marker.ts";
import type { RequestMetrics } from "./metrics.ts";
import { HttpProblem, problemResponse } from "./problems.ts";
import type { HttpEnv } from "./request-context.ts";

/**
 * When a request that has perhaps been done may be sent once more; one that only reads always may. "with-key": the route
 * knows a repetition by its `Idempotency-Key`. "always": done twice is as done once, and is answered the same.
 */
export type Repeats = "never" | "with-key" | "always";

/** By which a host says that it has not begun with a request. */
export type NotBegun = ElsewhereError | DrainingError;

export interface RouterParts {
  readonly host: Host;
  readonly routing: Routing;
  readonly markers: Markers;
  readonly forwarder: Pick<Forwarder, "send" | "stopped">;
  readonly metrics: Pick<RequestMetrics, "forwarded">;
  readonly bounds?: SearchBounds | undefined;
}

/** A tenant that moves, or whose host has just ended, is looked for so often and so long. Pauses double up to the longest. */
export interface SearchBounds {
  readonly maxTries: number;
  readonly withinMs: number;
  readonly firstPauseMs: number;
  readonly maxPauseMs: number;
}

const defaultBounds: SearchBounds = { maxTries: 8, withinMs: 4_000, firstPauseMs: 100, maxPauseMs: 1_000 };

/** The tenant's host could not be reached, and the tenant could not be had here either. Nothing was done. */
export class UnreachableError extends HttpProblem {
  readonly elsewhere: ElsewhereError;
  constructor(elsewhere: ElsewhereError) {
    const { tenantId, holder, region } = elsewhere;
    const where = holder === null ? `region "${region}"` : `host ${holder.hostId} in region "${region}"`;
    const detail = `Tenant "${tenantId}" is served by ${where}, which cannot be reached now, and nothing was done. Repeat the request.`;
    super("tenant_unavailable", detail, retrySoon);
    this.elsewhere = elsewhere;
  }
}

const retrySoon = { headers: { "retry-after": "1" } };

export function isNotBegun(answer: unknown): answer is NotBegun {
  return answer instanceof ElsewhereError || answer instanceof DrainingError;
}

/** What is asked of a router: the request, whose it is, and when it may be repeated. */
export interface Routed {
  readonly c: Context<HttpEnv>;
  readonly tenantId: string;
  readonly repeats: Repeats;
}

/** Answers requests here, or has them answered by the host that has their tenant. */
export class Router {
  readonly #parts: RouterParts;

  constructor(parts: RouterParts) {
    this.#parts = parts;
  }

  /**
   * `here` gives its answer, or the error by which the host says that nothing was begun. Throws UnreachableError, what `here`
   * throws, and an HttpProblem for what must not be repeated or was sent to the wrong host.
   */
  async route<Answer>(
    routed: Routed,
    here: (arrived: Arrived) => Promise<Answer | NotBegun>,
  ): Promise<Answer | Response> {
    const answered = this.#parts.host.attend();
    try {
      return await this.#route(routed, here);
    } finally {
      answered();
    }
  }

  async #route<Answer>(
    routed: Routed,
    here: (arrived: Arrived) => Promise<Answer | NotBegun>,
  ): Promise<Answer | Response> {
    const { c, repeats } = routed;
    const arrival = this.#arrivalOf(routed);
    if (arrival.kind === "misdirected") throw misdirected(arrival.meant);
    // It broke off if its end does not come: then the host that has sent it takes it for not begun.
    if (arrival.kind !== "first") await wholeBody(c);
    const search = new Search(this.#parts.bounds ?? defaultBounds);
    let arrived: Arrived = arrival.kind === "forwarded" ? "forwarded" : "first";
    for (;;) {
      const answer = await here(arrived);
      if (!isNotBegun(answer)) return answer;
      if (isLastStop(arrival, answer)) throw notHere(answer);
      const outcome =
        arrival.kind === "forwarded"
          ? this.#noteFailed(answer, arrival.failed)
          : await this.#sendOn(routed, answer);
      if (outcome.kind === "answered") return outcome.response;
      if (outcome.kind === "abandoned") return new Response(null, { status: clientClosedRequest });
      if (outcome.kind === "crowded") throw crowded(answer);
      // It stays so however often it is asked.
      if (outcome.kind === "nobody" && answer instanceof DrainingError) throw answer;
      const isOpen = outcome.kind === "broken" || outcome.kind === "lost";
      if (isOpen && !mayRepeat(c, repeats)) throw perhapsDone(answer);
      // What was waited for is not there any more, and that was no time spent on looking.
      if (waitedInVain.has(outcome.kind)) search.begin();
      if (this.#parts.forwarder.stopped) throw new DrainingError();
      // A home region is where a tenant should be, and no reason to leave it unserved.
      if (answer instanceof ElsewhereError && answer.why === "region") arrived = "forwarded";
      if (!(await search.again()))
        throw answer instanceof ElsewhereError ? new UnreachableError(answer) : answer;
    }
  }

  #arrivalOf({ c, tenantId }: Routed): Arrival {
    const { host, routing, markers } = this.#parts;
    const readMarker = (text: string) => markers.read(text, tenantId);
    return arrivalOf(c.req.raw.headers, { routing, hostId: host.id, readMarker });
  }

  async #sendOn({ c, tenantId }: Routed, answer: NotBegun): Promise<Outcome | { readonly kind: "nobody" }> {
    const { host, routing, markers, forwarder } = this.#parts;
    const errand: Errand = answer instanceof ElsewhereError ? answer.why : "draining";
    const body = await wholeBody(c);
    const markerFor = (to: string | null): string => markers.sign({ tenantId, from: host.id, errand, to });
    // A Machine whose host has just been replaced has the tenant all the same, so a replay is meant for whoever gets it.
    const canReplay = routing === "fly" && cameByFly(c.req.raw.headers);
    const replay = canReplay ? flyReplay(replayTargetOf(answer), markerFor(null)) : undefined;
    if (replay !== undefined && (body?.length ?? 0) <= maxReplayedBytes) {
      this.#count("replayed");
      return { kind: "answered", response: replayResponse(replay, c.var.requestId) };
    }
    const holder = answer instanceof ElsewhereError ? answer.holder : await host.anotherHost();
    if (holder === null) return { kind: "nobody" };
    const outcome = await forwarder.send(forwardedRequest(c, body, markerFor(holder.hostId)), holder);
    this.#count(outcome.kind);
    this.#noteUnreachable(holder, outcome);
    return outcome;
  }

  #noteUnreachable({ hostId }: Holder, { kind }: Outcome): void {
    if (kind === "answered" || kind === "abandoned" || kind === "crowded") return;
    // Where another host answers, it does not listen either.
    const isGone = kind === "refused" || kind === "misdirected";
    this.#parts.host.noteUnreachable(hostId, isGone ? "refused" : "silent");
  }

  /** Fly's proxy reached nobody, and a request that has come back cannot be replayed again: this host can only wait for it. */
  #noteFailed(answer: NotBegun, failed: FailedReplay | undefined): { readonly kind: "nobody" } {
    const holder = answer instanceof ElsewhereError ? answer.holder : null;
    if (holder !== null && holder.machine === failed?.instance)
      this.#parts.host.noteUnreachable(holder.hostId, failed.how);
    return { kind: "nobody" };
  }

  #count(outcome: Outcome["kind"] | "replayed"): void {
    this.#parts.metrics.forwarded(outcome);
  }
}

const waitedInVain: ReadonlySet<string> = new Set(["broken", "lost", "gone"] satisfies Outcome["kind"][]);

/** Nobody reads this answer; the number is the one that nginx made a habit. */
const clientClosedRequest = 499;

/** One try after the other, with pauses in between, up to the bounds. */
class Search {
  readonly #bounds: SearchBounds;
  #tries = 1;
  #pauseMs: number;
  #beganAt = performance.now();

  constructor(bounds: SearchBounds) {
    this.#bounds = bounds;
    this.#pauseMs = bounds.firstPauseMs;
  }

  begin(): void {
    this.#beganAt = performance.now();
  }

  /** Resolves after a pause; false when it was tried often enough. */
  async again(): Promise<boolean> {
    const { maxTries, withinMs, maxPauseMs } = this.#bounds;
    const spentMs = performance.now() - this.#beganAt;
    if (this.#tries >= maxTries || spentMs + this.#pauseMs > withinMs) return false;
    await sleep(this.#pauseMs);
    this.#tries += 1;
    this.#pauseMs = Math.min(this.#pauseMs * 2, maxPauseMs);
    return true;
  }
}

function isLastStop(arrival: Arrival, answer: NotBegun): boolean {
  if (arrival.kind === "forwarded") return arrival.failed === undefined;
  return arrival.kind === "handed-over" && answer instanceof DrainingError;
}

function misdirected(meant: string): HttpProblem {
  return new HttpProblem(
    "misdirected",
    `The request was meant for host ${meant}, which does not listen here any more. Nothing was done; whoever has sent it on looks for the tenant again.`,
    { headers: { [notHereHeader]: "1" } },
  );
}

/** Tells the host that has sent the request that it may look for the tenant again. */
function notHere({ code, message, retryAfterSeconds }: NotBegun): HttpProblem {
  return new HttpProblem(code, message, {
    headers: { "retry-after": String(retryAfterSeconds), [notHereHeader]: "1" },
  });
}

function mayRepeat(c: Context, repeats: Repeats): boolean {
  if (c.req.method === "GET" || c.req.method === "HEAD" || repeats === "always") return true;
  // A key that `connection` names does not get as far as the other host.
  return repeats === "with-key" && endToEnd(c.req.raw.headers).some(([name]) => name === "idempotency-key");
}

function perhapsDone(answer: NotBegun): HttpProblem {
  const whose = answer instanceof ElsewhereError ? ` that serves tenant "${answer.tenantId}"` : "";
  return new HttpProblem(
    "tenant_unavailable",
    `The host${whose} broke off before it had answered: the request may have been done. Look before you repeat it; a start or a signal with an \`Idempotency-Key\` can be repeated as it is.`,
    retrySoon,
  );
}

function crowded(answer: NotBegun): HttpProblem {
  const whose = answer instanceof ElsewhereError ? `the host of tenant "${answer.tenantId}"` : "another host";
  const detail = `As many requests as this host sends at a time are under way to ${whose}, and nothing was done. Repeat the request.`;
  return new HttpProblem("overloaded", detail);
}

function replayTargetOf(answer: NotBegun): ReplayTarget {
  if (answer instanceof DrainingError) return { elsewhere: true };
  const { why, holder, region } = answer;
  return why === "holder" && holder !== null ? { instance: holder.machine } : { region };
}

/** Read by Fly's proxy, or by who went around it with headers as if by it. The status is what Fly's own Ruby client answers. */
function replayResponse(replay: string, requestId: string): Response {
  const problem = new HttpProblem(
    "elsewhere",
    "Nothing was done: another Machine serves the tenant. Fly's proxy sends the request there, by the header `fly-replay` of this answer. Whoever reads this went around the proxy: call the app by its public or Flycast address, or leave out the headers that the proxy adds (`fly-client-ip`, `fly-forwarded-port`, `fly-region`).",
    { headers: { "fly-replay": replay } },
  );
  return problemResponse(problem, requestId);
}
