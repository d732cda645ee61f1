import { Agent, request as requestClear, type IncomingMessage, type OutgoingHttpHeaders } from "node:http";
import { Agent as TlsAgent, request as requestTls } from "node:https";
import type { Socket } from "node:net";
import { Readable } from "node:stream";
import type { Holder } from "../host/host.ts";
import { hostHeader, notHereHeader, viaHeader } from "./arrival.ts";
import { endToEnd } from "./end-to-end.ts";
import type { LostHolders } from "./lost-holders.ts";

export interface ForwardedRequest {
  readonly method: string;
  /** Path and query, as they came. */
  readonly path: string;
  readonly headers: OutgoingHttpHeaders;
  /** Whole, so that it can be sent again. */
  readonly body: Uint8Array | null;
  /** Aborts when the client does not wait any more. */
  readonly gone: AbortSignal;
}

/** What became of a request that was sent on. */
export type Outcome =
  /** The body of the answer may be still on its way. */
  | { readonly kind: "answered"; readonly response: Response }
  /**
   * Nothing was done: that host does not have the tenant, another host or nobody listens at its address, or it gave no sign
   * that it would begin.
   */
  | { readonly kind: "not-here" | "misdirected" | "refused" | "unreachable" }
  /** Nothing was done: the host was lost while such a sign was waited for. */
  | { readonly kind: "gone" }
  /** Nothing was done: as many requests as may be are under way to that host. */
  | { readonly kind: "crowded" }
  /** It may have been done: the connection broke, the host was lost, or what answered in the end is no host of ours. */
  | { readonly kind: "broken" | "lost" }
  /** Nobody waits for the answer any more. */
  | { readonly kind: "abandoned" };

export interface ForwarderTimes {
  /** A Machine that is gone does not refuse connections: it does not answer at all. */
  readonly connectWithinMs: number;
  /** The system accepts connections for a process that stands still. One that runs says at once that it takes the request. */
  readonly beginWithinMs: number;
  /** No `?wait` is longer than a minute, and a stream sends something more often. */
  readonly silentWithinMs: number;
}

/** A run may hold a host's event loop for a while; at 10 s the host is ended for it. */
const defaultTimes: ForwarderTimes = {
  connectWithinMs: 1_500,
  beginWithinMs: 5_000,
  silentWithinMs: 120_000,
};

/**
 * To one host. More than the 400 requests that fly.toml lets a Machine have at a time, and so few that three hosts together
 * leave a quarter of a fourth one's connections to its clients (`server.ts`). What is beyond is told so at once: a queue would only make it late.
 */
const maxUnderWayToOne = 500;

/** Our server closes idle connections after 75 s; one that is used no longer than this is not closed while a request comes. */
const agentOptions = { keepAlive: true, maxFreeSockets: 64, timeout: 30_000 };

/**
 * A reverse proxy to other hosts: one attempt at a time, nothing held back of the answers, and no decision about what follows.
 * Each request expects a 100 (RFC 9110, section 10.1.1), which costs a trip but tells a host that works long from one that
 * stands still: the body is sent only then, and what changes something is not begun before it is whole (`route.ts`).
 */
export class Forwarder {
  readonly #lostHolders: LostHolders;
  readonly #times: ForwarderTimes;
  readonly #clear = new Agent(agentOptions);
  readonly #tls = new TlsAgent(agentOptions);
  readonly #cutOff = new Set<() => void>();
  readonly #maxUnderWay: number;
  /** Requests by host, until the last byte of their answers. */
  readonly #underWay = new Map<string, number>();
  #stopped = false;

  constructor(lostHolders: LostHolders, times = defaultTimes, maxUnderWay = maxUnderWayToOne) {
    this.#lostHolders = lostHolders;
    this.#times = times;
    this.#maxUnderWay = maxUnderWay;
  }

  /** Whether this host is about to close its connections: what was sent on by then has broken off, and nothing more is. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Ends what waits for an answer, while there is time to tell its clients. */
  stop(): void {
    this.#stopped = true;
    for (const cutOff of this.#cutOff) cutOff();
  }

  /** Whatever the network does is an outcome. */
  send(request: ForwardedRequest, { hostId, address }: Pick<Holder, "hostId" | "address">): Promise<Outcome> {
    if ((this.#underWay.get(hostId) ?? 0) >= this.#maxUnderWay) return Promise.resolve({ kind: "crowded" });
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const { connectWithinMs, beginWithinMs, silentWithinMs: timeout } = this.#times;
    const { protocol, hostname, port, pathname } = new URL(address);
    const changes = changesSomething(request);
    const isTls = protocol === "https:";
    const upstream = (isTls ? requestTls : requestClear)({
      agent: isTls ? this.#tls : this.#clear,
      hostname: hostname.replace(/^\[(.*)\]$/, "$1"),
      port,
      path: `${pathname.replace(/\/$/, "")}${request.path}`,
      method: request.method,
      headers: { ...request.headers, ...framingOf(request), expect: "100-continue" },
      timeout,
    });
    const ended = this.#begin(hostId);
    let end: Exclude<Outcome["kind"], "answered"> = "unreachable";
    const giveUp = (kind: typeof end): void => {
      end = kind;
      upstream.destroy();
    };
    const abandon = (): void => giveUp("abandoned");
    const cutOff = (): void => giveUp(end);
    this.#cutOff.add(cutOff);
    let late = setTimeout(() => giveUp("unreachable"), connectWithinMs);
    const stopWatching = this.#lostHolders.watch(hostId, () => giveUp(end === "broken" ? "lost" : "gone"));
    const settle = (outcome: Outcome): void => {
      clearTimeout(late);
      stopWatching();
      this.#cutOff.delete(cutOff);
      resolve(outcome);
    };
    upstream.once("socket", (socket) => {
      whenConnected(socket, isTls, () => {
        clearTimeout(late);
        late = setTimeout(() => giveUp("unreachable"), beginWithinMs);
      });
    });
    upstream.once("continue", () => {
      clearTimeout(late);
      // From here on it may be done.
      end = "broken";
      if (changes) upstream.end(request.body ?? undefined);
    });
    upstream.once("timeout", () => giveUp(end));
    upstream.once("response", (answer) => {
      const refusal = refusalOf(answer, hostId);
      // A connection on which a body is still expected is of no further use.
      if (changes && end === "unreachable") answer.once("close", () => upstream.destroy());
      if (refusal === "not-this-host") giveUp(end);
      else if (refusal === null) settle({ kind: "answered", response: responseOf(answer, request.method) });
      else {
        answer.resume();
        settle({ kind: refusal });
      }
    });
    upstream.on("error", (error: NodeJS.ErrnoException) => {
      const refused = end === "unreachable" && error.code === "ECONNREFUSED";
      settle({ kind: refused ? "refused" : end });
    });
    upstream.once("close", () => {
      ended();
      request.gone.removeEventListener("abort", abandon);
      settle({ kind: end });
    });
    request.gone.addEventListener("abort", abandon, { once: true });
    if (request.gone.aborted) abandon();
    else if (!changes) upstream.end();
    return promise;
  }

  #begin(hostId: string): () => void {
    const change = (by: number): void => {
      const underWay = (this.#underWay.get(hostId) ?? 0) + by;
      if (underWay === 0) this.#underWay.delete(hostId);
      else this.#underWay.set(hostId, underWay);
    };
    change(1);
    return () => change(-1);
  }
}

function changesSomething({ method }: ForwardedRequest): boolean {
  return method !== "GET" && method !== "HEAD";
}

/** What changes something has a body even if that is empty, so that it is not whole before its end is sent. */
function framingOf(request: ForwardedRequest): OutgoingHttpHeaders {
  if (!changesSomething(request)) return {};
  const length = request.body?.length ?? 0;
  return length === 0 ? { "transfer-encoding": "chunked" } : { "content-length": length };
}

/** At once for a connection that is kept from an earlier request. */
function whenConnected(socket: Socket, isTls: boolean, connected: () => void): void {
  if (socket.connecting) socket.once(isTls ? "secureConnect" : "connect", connected);
  else connected();
}

/**
 * Why that is no answer of the host's, if it is none. Its address may be another's since it died: every host names itself, and
 * one that is not meant says so. Anything else that answers is not passed on as if it were the tenant's word.
 */
function refusalOf(
  { statusCode, headers }: IncomingMessage,
  hostId: string,
): "not-here" | "misdirected" | "not-this-host" | null {
  const isHere = headers[notHereHeader] === undefined;
  if (headers[hostHeader] === hostId || headers[viaHeader] === hostId)
    return isHere || statusCode !== 503 ? null : "not-here";
  return isHere || statusCode !== 421 ? "not-this-host" : "misdirected";
}

function responseOf(answer: IncomingMessage, method: string): Response {
  const status = answer.statusCode ?? 502;
  const init = { status, headers: endToEnd(pairs(answer.rawHeaders)) };
  const hasNoBody = method === "HEAD" || status === 204 || status === 205 || status === 304;
  if (!hasNoBody) return new Response(Readable.toWeb(answer) as ReadableStream<Uint8Array>, init);
  answer.resume();
  return new Response(null, init);
}

function pairs(rawHeaders: readonly string[]): [string, string][] {
  return rawHeaders.flatMap((name, index) =>
    index % 2 === 0 ? [[name.toLowerCase(), rawHeaders[index + 1] ?? ""] as [string, string]] : [],
  );
}
