import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pipeline } from "node:stream/promises";
import { Dispatcher, type DispatchOptions, type ProxiedMachine, type Reached } from "./dispatch.ts";
import { sendToMachine, withoutConnection } from "./machine-request.ts";
import type { Wanted } from "./placement.ts";
import {
  MalformedReplayError,
  parseReplay,
  replayFailed,
  replaySource,
  type Replay,
} from "./replay-header.ts";
import { RequestBody } from "./request-body.ts";

export interface FlyProxyOptions extends DispatchOptions {
  readonly appName: string;
}

/** Which Machine took a request. */
export interface Delivery {
  readonly path: string;
  readonly machine: string;
  readonly edge: string;
}

/** One way of a request: from the client, by a replay, or back from a replay that failed. */
interface Leg {
  readonly wanted: Wanted;
  readonly headers: Readonly<Record<string, string>>;
  readonly until: number;
  readonly replay: { readonly asked: Replay; readonly by: ProxiedMachine; readonly at: number } | null;
  readonly isFallback: boolean;
}

/** Fly's documents say that "requests larger than 1MB cannot be replayed", and elsewhere that 10 MB are buffered (PA01). */
const maxReplayedBytes = 1_000_000;
/** Error PA02. */
const maxReplays = 10;
const keptDeliveries = 10_000;

/**
 * Fly's proxy before the Machines of one app, as far as it is documented. It does no TLS, no WebSockets, no health checks
 * and no replay cache, and never stops a Machine. The status of its own errors is documented for one case only (503 where
 * every Machine stays at its hard limit); the others are 502 here.
 */
export class FlyProxy {
  readonly #options: FlyProxyOptions;
  readonly #dispatcher: Dispatcher;
  readonly #servers: Server[] = [];
  readonly #deliveries: Delivery[] = [];

  constructor(options: FlyProxyOptions) {
    this.#options = options;
    this.#dispatcher = new Dispatcher(options);
  }

  /** In the order in which connections were made, replays among them. */
  get deliveries(): readonly Delivery[] {
    return this.#deliveries;
  }

  /** Opens an edge in that region; gives its URL. */
  async listen(edge: string): Promise<string> {
    const server = createServer((incoming, answer) => void this.#serve(edge, incoming, answer));
    this.#servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", resolve);
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    for (const server of this.#servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  async #serve(edge: string, incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const gone = new AbortController();
    answer.on("close", () => gone.abort());
    const requestId = `${randomBytes(13).toString("hex").toUpperCase()}-${edge}`;
    answer.setHeader("fly-request-id", requestId);
    const body = new RequestBody(incoming, maxReplayedBytes);
    const headers = { ...withoutConnection(incoming.headers), ...edgeHeaders(edge, requestId) };
    const { method = "GET", url: path = "/" } = incoming;
    let leg = firstLeg(incoming);
    for (let replays = 0; !gone.signal.aborted;) {
      const added = leg.headers;
      const reached = await this.#dispatcher.reach({
        edge,
        wanted: leg.wanted,
        until: leg.until,
        signal: gone.signal,
        send: (machine) =>
          sendToMachine(machine.url, {
            method,
            path,
            headers: { ...headers, ...added },
            body,
            signal: gone.signal,
          }),
      });
      if (reached.kind === "failed") {
        const back = this.#fallBack(leg, reached);
        if (back === null)
          return refuse(answer, reached.reason === "full" ? 503 : 502, `PR04 ${reached.reason}`);
        leg = back;
        continue;
      }
      const { machine, sent, release } = reached;
      this.#note({ path, machine: machine.id, edge });
      if (sent.kind === "broken") {
        release();
        return refuse(answer, 502, `PU02 Machine ${machine.id}: ${sent.why}`);
      }
      const header = sent.response.headers["fly-replay"];
      if (header === undefined) return await passOn(sent.response, answer).finally(release);
      discard(sent.response, body);
      release();
      replays += 1;
      // "Fallback requests cannot themselves issue fly-replay responses"; what comes of one that does is not documented.
      if (leg.isFallback) return refuse(answer, 502, "A request that fell back was replayed once more.");
      if (!body.canBeSentAgain) return refuse(answer, 502, "PA01 The body is too large to be replayed.");
      if (replays > maxReplays) return refuse(answer, 502, "PA02 There were too many replays.");
      try {
        leg = replayLeg(parseReplay(String(header), this.#options.appName), machine);
      } catch (error) {
        if (!(error instanceof MalformedReplayError)) throw error;
        return refuse(answer, 502, `${error.code} ${error.message}`);
      }
    }
  }

  /** Back to the Machine that had asked for the replay; null if it did not ask for that too. */
  #fallBack({ replay, isFallback }: Leg, { reason }: Extract<Reached, { kind: "failed" }>): Leg | null {
    const fallback = replay?.asked.fallback ?? null;
    if (replay === null || fallback === null || isFallback) return null;
    const { asked, by, at } = replay;
    // How long Fly tries the first Machine before it prefers another one is not documented: if it runs, it is the one.
    const anyOther = fallback === "prefer_self" && !this.#dispatcher.seesRunning(by);
    const failed = replayFailed({
      replay: asked,
      appName: this.#options.appName,
      source: by.id,
      // A replay that found every candidate full is not among the documented reasons.
      reason: reason === "full" ? "retries_exhausted" : reason,
      elapsedMs: performance.now() - at,
    });
    return {
      wanted: anyOther ? {} : { instance: by.id },
      headers: { "fly-replay-failed": failed },
      until: Infinity,
      replay: null,
      isFallback: true,
    };
  }

  #note(delivery: Delivery): void {
    if (this.#deliveries.push(delivery) > keptDeliveries) this.#deliveries.shift();
  }
}

/** By the document networking/request-headers. */
function edgeHeaders(edge: string, requestId: string): Record<string, string> {
  return {
    "fly-region": edge,
    "fly-request-id": requestId,
    "fly-client-ip": "127.0.0.1",
    "fly-forwarded-port": "443",
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-proto": "https",
    via: "1.1 fly.io",
  };
}

/**
 * Where a client's own headers send its request. Whether Fly takes away a `fly-replay-src` or `fly-replay-failed` that a
 * client made up is not documented: they go through to the Machine here.
 */
function firstLeg({ headers }: IncomingMessage): Leg {
  const instance = headers["fly-force-instance-id"];
  const regions = headers["fly-prefer-region"];
  return {
    wanted: {
      ...(instance === undefined ? {} : { instance: String(instance) }),
      ...(regions === undefined
        ? {}
        : {
            preferredRegions: String(regions)
              .split(",")
              .map((region) => region.trim()),
          }),
    },
    headers: {},
    until: Infinity,
    replay: null,
    isFallback: false,
  };
}

/** What a replay asks for wins over what the client had asked for; which of the two does on Fly is not documented. */
function replayLeg(asked: Replay, by: ProxiedMachine): Leg {
  const at = performance.now();
  return {
    wanted: {
      ...(asked.instance === null ? {} : { instance: asked.instance }),
      ...(asked.regions === null ? {} : { regions: asked.regions }),
      ...(asked.elsewhere ? { except: by.id } : {}),
    },
    headers: { "fly-replay-src": replaySource(asked, by) },
    until: asked.timeoutMs === null ? Infinity : at + asked.timeoutMs,
    replay: { asked, by, at },
    isFallback: false,
  };
}

async function passOn(response: IncomingMessage, answer: ServerResponse): Promise<void> {
  answer.writeHead(response.statusCode ?? 502, { ...withoutConnection(response.headers), via: "1.1 fly.io" });
  answer.flushHeaders();
  // One that breaks off in the middle breaks the other off too.
  await pipeline(response, answer).catch(() => {});
}

function discard(response: IncomingMessage, body: RequestBody): void {
  body.detach();
  response.on("error", () => {}).destroy();
}

function refuse(answer: ServerResponse, status: number, text: string): void {
  answer.writeHead(status, { "content-type": "text/plain", connection: "close" }).end(`${text}\n`);
}
