import type { IncomingMessage } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { startRelay, type Relay, type RelayedRequest } from "../../scripts/support/relay.ts";
import type { VersityGw } from "./versitygw.ts";

/**
 * What may become of a request. `reset-before`: the connection is reset, and the store never hears of it. `reset-after`: it is
 * reset when the store has done it. `cut-short`: the answer breaks off in its middle. `unavailable`: 503, as S3 says it.
 * `black-hole`: it never arrives, and nothing answers. `held`: nothing answers, and it arrives once the fault is healed,
 * whether or not its client still waits.
 */
export type NetworkFault =
  | "reset-before"
  | "reset-after"
  | "cut-short"
  | "unavailable"
  | "black-hole"
  | "held";

export interface StrikeOptions {
  /** The first so many requests; all until it is healed by default. */
  readonly times?: number;
  /** Only these. `path` is as it is in the request, encoded, with the query. */
  readonly only?: (request: { readonly method: string; readonly path: string }) => boolean;
}

interface Strike {
  readonly fault: NetworkFault;
  readonly only: NonNullable<StrikeOptions["only"]>;
  left: number;
}

/** Stands between one client and the store. Each client has one of its own, so that the others' way stays whole. */
export class FaultProxy {
  /** Every request waits so long before anything else happens to it. */
  latencyMs = 0;
  readonly #store: VersityGw;
  /** null while it is cut off. */
  #relay: Relay | null = null;
  #port = 0;
  #strike: Strike | null = null;
  #healed = Promise.withResolvers<void>();
  #struck = 0;

  private constructor(store: VersityGw) {
    this.#store = store;
  }

  static async start(store: VersityGw): Promise<FaultProxy> {
    const proxy = new FaultProxy(store);
    await proxy.restore();
    return proxy;
  }

  /** Where the client finds the store. */
  get endpoint(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** A setting for HOLDFAST_STORE. */
  storeUrl(prefix: string): string {
    const [own, through] = [this.#store.endpoint, this.endpoint].map(encodeURIComponent);
    return this.#store.storeUrl(prefix).replace(own ?? "", through ?? "");
  }

  /** How many requests a fault has struck. */
  get struck(): number {
    return this.#struck;
  }

  /** In place of any fault before. */
  strike(fault: NetworkFault, { times = Infinity, only = () => true }: StrikeOptions = {}): void {
    this.heal();
    this.#strike = { fault, only, left: times };
  }

  /** Requests get through again, and those that were held are let go. */
  heal(): void {
    this.#strike = null;
    this.#healed.resolve();
    this.#healed = Promise.withResolvers();
  }

  /** Connections are refused, and those that there are end. What the store has begun it ends. */
  async cutOff(): Promise<void> {
    const relay = this.#relay;
    this.#relay = null;
    await relay?.close();
  }

  /** Listens again where it had listened. */
  async restore(): Promise<void> {
    if (this.#relay !== null) return;
    const { port: targetPort } = this.#store;
    this.#relay = await startRelay({ targetPort, port: this.#port }, (request) => this.#take(request));
    this.#port = this.#relay.port;
  }

  async close(): Promise<void> {
    await this.cutOff();
    this.heal();
  }

  async #take(request: RelayedRequest): Promise<void> {
    const { incoming, answer, send, passOn } = request;
    const healed = this.#healed.promise;
    const fault = this.#draw(incoming);
    await sleep(this.latencyMs);
    switch (fault) {
      case null:
        return await passOn(await send());
      case "unavailable":
        incoming.resume();
        answer.writeHead(503, { "content-type": "application/xml" });
        answer.end("<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>");
        return;
      case "reset-before":
        reset(incoming);
        return;
      case "reset-after":
        await bodyOf(await send());
        reset(incoming);
        return;
      case "cut-short": {
        const response = await send();
        const body = await bodyOf(response);
        // An answer without a body would be whole with its head.
        if (body.length === 0) return reset(incoming);
        answer.writeHead(response.statusCode ?? 502, response.rawHeaders);
        answer.write(body.subarray(0, body.length / 2), () => reset(incoming));
        return;
      }
      case "black-hole":
        incoming.resume();
        await healed;
        // What was sent on this connection is lost, so neither end can go on with it.
        reset(incoming);
        return;
      case "held": {
        const body = await bodyOf(incoming);
        await healed;
        await passOn(await send(body));
      }
    }
  }

  #draw({ method = "GET", url: path = "/" }: IncomingMessage): NetworkFault | null {
    const strike = this.#strike;
    if (strike === null || strike.left <= 0 || !strike.only({ method, path })) return null;
    strike.left -= 1;
    this.#struck += 1;
    return strike.fault;
  }
}

async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function reset({ socket }: IncomingMessage): void {
  socket.resetAndDestroy();
}
