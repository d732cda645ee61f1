import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { ProxiedMachine } from "./dispatch.ts";
import type { MachineState } from "./machine.ts";

/** What a request looked like when it came to a Machine, its body whole. */
export interface SeenRequest {
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

export type Handler = (request: SeenRequest, answer: ServerResponse, incoming: IncomingMessage) => void;

/** A Machine that is a plain HTTP server of this process; what it answers can be set at any time. */
export class PlainMachine implements ProxiedMachine {
  readonly id: string;
  readonly region: string;
  readonly seen: SeenRequest[] = [];
  state: MachineState = "stopped";
  leftStartedAt: number | null = null;
  starts = 0;
  handle: Handler = (_request, answer) => void answer.end(this.id);
  /** The handler gets the request before its body has come, which is then not read for it. */
  readsBody = true;
  /** It starts, and then listens only after so long. */
  bootMs = 0;
  #server: Server | null = null;
  #port = 0;

  constructor(id: string, region: string) {
    this.id = id;
    this.region = region;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** A Machine that listens; `start` alone leaves that to `bootMs`. */
  static async started(id: string, region: string): Promise<PlainMachine> {
    const machine = new PlainMachine(id, region);
    await machine.#listen();
    machine.state = "started";
    return machine;
  }

  async start(): Promise<void> {
    this.starts += 1;
    this.state = "started";
    this.leftStartedAt = null;
    if (this.bootMs === 0) await this.#listen();
    else setTimeout(() => void this.#listen(), this.bootMs);
  }

  async stop(): Promise<void> {
    this.state = "stopped";
    this.leftStartedAt = performance.now();
    const server = this.#server;
    this.#server = null;
    if (server === null) return;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  async #listen(): Promise<void> {
    const server = createServer((incoming, answer) => void this.#take(incoming, answer));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.#port, "127.0.0.1", resolve);
    });
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
  }

  async #take(incoming: IncomingMessage, answer: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    if (this.readsBody) for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const { url: path = "", headers } = incoming;
    const request = { path, headers, body: Buffer.concat(chunks).toString() };
    this.seen.push(request);
    this.handle(request, answer, incoming);
  }
}
