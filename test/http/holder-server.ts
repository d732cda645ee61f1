import { createServer, type IncomingMessage, type RequestListener, type Server } from "node:http";
import { once } from "node:events";
import { createServer as createNetServer, type AddressInfo, type Socket } from "node:net";
import type { Holder } from "../../app/host/host.ts";

/** A server in a host's place that does with requests what a test wants. */
export interface HolderServer extends Holder {
  /** What it got, bodies included. */
  readonly requests: { readonly incoming: IncomingMessage; readonly body: string }[];
  answer: RequestListener;
  close(): Promise<void>;
}

/** Who is at that address and has the tenant; on Fly its Machine is `00bb33ff`. */
export function holderAt(address: string, hostId = "host-2"): Holder {
  return { hostId, machine: "00bb33ff", address, region: "fra" };
}

export async function serveHolder(answer: RequestListener, listenOn = "127.0.0.1"): Promise<HolderServer> {
  const requests: HolderServer["requests"] = [];
  const server: Server = createServer((incoming, outgoing) => {
    const chunks: Buffer[] = [];
    incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
    incoming.on("end", () => {
      requests.push({ incoming, body: Buffer.concat(chunks).toString() });
      // As a host does; a test may take it away.
      outgoing.setHeader("holdfast-host", holder.hostId);
      holder.answer(incoming, outgoing);
    });
  });
  server.listen(0, listenOn);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const host = listenOn.includes(":") ? `[${listenOn}]` : listenOn;
  const holder: HolderServer = {
    ...holderAt(`http://${host}:${port}`),
    requests,
    answer,
    async close() {
      server.closeAllConnections();
      if (!server.listening) return;
      server.close();
      await once(server, "close");
    },
  };
  return holder;
}

/** A process that stands still: its system accepts connections, and nothing is said on them but by `onData`. */
export interface Silence extends Holder {
  readonly received: () => string;
  close(): void;
}

export async function serveSilence(onData: (socket: Socket) => void = () => {}): Promise<Silence> {
  const chunks: Buffer[] = [];
  const sockets = new Set<Socket>();
  const server = createNetServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      chunks.push(chunk);
      onData(socket);
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    ...holderAt(`http://127.0.0.1:${port}`),
    received: () => Buffer.concat(chunks).toString(),
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** An address at which nobody listens. */
export async function refusingAddress(): Promise<string> {
  const server = await serveHolder(() => {});
  await server.close();
  return server.address;
}

export function times<Value>(count: number, value: Value): Value[] {
  return Array.from({ length: count }, () => value);
}
