import { Agent, request } from "node:http";
import { z } from "zod";

/** Litestream's control socket. Every call is bounded in time and throws LitestreamError. */
export interface LitestreamControl {
  /**
   * Opens the database without any call to the store, so a wrong URL shows only in the first sync. A path that is
   * registered already keeps its old URL, whatever is given here.
   */
  register(database: {
    readonly path: string;
    readonly replicaUrl: string;
  }): Promise<"registered" | "already_registered">;
  /**
   * Ships everything that was committed before the call. It is durable only if `replicatedTxid >= txid > 0`: judge by
   * that, an answer alone does not say so. Under writes an answer may name a later `txid` than it waited for: ask again.
   * `timeoutSeconds` is a whole number of at least 1. Litestream waits without end for an upload that hangs, and every
   * sync after it fails, even when the store is back: unregister and register the database again then.
   */
  sync(database: {
    readonly path: string;
    readonly timeoutSeconds: number;
  }): Promise<{ readonly txid: number; readonly replicatedTxid: number }>;
  /** Syncs once more and lets go of the database; an error may mean that it was let go without that sync. */
  unregister(database: { readonly path: string; readonly timeoutSeconds: number }): Promise<void>;
  info(): Promise<{ readonly pid: number; readonly version: string }>;
  /** Gets no answer while the first contact of any database with its store hangs. */
  list(): Promise<readonly { readonly path: string; readonly status: string }[]>;
  /** Drops the connections; calls under way fail. */
  close(): void;
}

/** A call that Litestream refused, did not answer in time, or could not be asked. */
export class LitestreamError extends Error {
  override readonly name = "LitestreamError";
  /** The database that the call was about; undefined if about none. */
  readonly path: string | undefined;
  /** HTTP status of a refusal (404: no such database is registered); undefined if there was no answer to use. */
  readonly status: number | undefined;
  constructor(
    message: string,
    facts: { readonly path: string | undefined; readonly status?: number | undefined },
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.path = facts.path;
    this.status = facts.status;
  }
}

/** For calls that do no network I/O. */
const localTimeoutMs = 5_000;
/** What a call gets on top of the timeout that Litestream was told, and does not always keep. */
const graceMs = 2_000;
const maxAnswerBytes = 16 * 1024 * 1024;

const registered = z.object({ status: z.enum(["registered", "already_registered"]) });
const synced = z.object({ txid: z.int().min(0), replicated_txid: z.int().min(0) });
const unregistered = z.object({ status: z.enum(["unregistered", "already_unregistered"]) });
const information = z.object({ pid: z.int().min(1), version: z.string() });
const listed = z.object({ databases: z.array(z.object({ path: z.string(), status: z.string() })) });
const refused = z.object({ error: z.string() });

export function connectLitestream(socketPath: string): LitestreamControl {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: 64 });

  async function call<T>(schema: z.ZodType<T>, { timeoutMs = localTimeoutMs, ...what }: Call): Promise<T> {
    const answer = await send({ ...what, timeoutMs }, { agent, socketPath });
    const { path } = what;
    if (answer.status !== 200) {
      const words = refused.safeParse(answer.body).data?.error ?? "no reason given";
      throw new LitestreamError(`Litestream refused to ${describe(what)}: ${answer.status} ${words}`, {
        path,
        status: answer.status,
      });
    }
    const parsed = schema.safeParse(answer.body);
    if (parsed.success) return parsed.data;
    throw new LitestreamError(
      `Litestream's answer to ${describe(what)} is not understood: ${z.prettifyError(parsed.error)}`,
      { path },
    );
  }

  return {
    register: async ({ path, replicaUrl }) => {
      const body = { path, replica_url: replicaUrl };
      return (await call(registered, { verb: "register", path, body })).status;
    },
    sync: async ({ path, timeoutSeconds }) => {
      const body = { path, wait: true, timeout: timeoutSeconds };
      const timeoutMs = timeoutSeconds * 1_000 + graceMs;
      const { txid, replicated_txid } = await call(synced, { verb: "sync", path, body, timeoutMs });
      return { txid, replicatedTxid: replicated_txid };
    },
    unregister: async ({ path, timeoutSeconds }) => {
      const body = { path, timeout: timeoutSeconds };
      const timeoutMs = timeoutSeconds * 1_000 + graceMs;
      await call(unregistered, { verb: "unregister", path, body, timeoutMs });
    },
    info: () => call(information, { verb: "info", timeoutMs: 1_000 }),
    list: async () => (await call(listed, { verb: "list" })).databases,
    close: () => agent.destroy(),
  };
}

interface Call {
  readonly verb: "register" | "sync" | "unregister" | "info" | "list";
  readonly path?: string;
  /** Sent as JSON by POST; without one the call is a GET. */
  readonly body?: object;
  readonly timeoutMs?: number;
}

interface Answer {
  readonly status: number;
  /** `undefined` if it is no JSON. */
  readonly body: unknown;
}

function send(
  call: Call & { readonly timeoutMs: number },
  connection: { readonly agent: Agent; readonly socketPath: string },
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const body = call.body && JSON.stringify(call.body);
  const outgoing = request({
    ...connection,
    path: `/${call.verb}`,
    method: body === undefined ? "GET" : "POST",
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
  });
  const timer = setTimeout(
    () => outgoing.destroy(new Error(`no answer within ${call.timeoutMs} ms`)),
    call.timeoutMs,
  );
  const fail = (error: Error) => {
    clearTimeout(timer);
    const facts = { path: call.path };
    reject(
      new LitestreamError(`Litestream was asked to ${describe(call)}: ${error.message}`, facts, {
        cause: error,
      }),
    );
  };
  outgoing.on("error", fail);
  outgoing.on("response", (incoming) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    incoming.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > maxAnswerBytes) outgoing.destroy(new Error(`an answer of over ${maxAnswerBytes} bytes`));
      else chunks.push(chunk);
    });
    incoming.on("error", fail);
    incoming.on("end", () => {
      clearTimeout(timer);
      resolve({ status: incoming.statusCode ?? 0, body: parseJson(Buffer.concat(chunks).toString()) });
    });
  });
  outgoing.end(body);
  return promise;
}

function describe({ verb, path }: Pick<Call, "verb" | "path">): string {
  return path === undefined ? verb : `${verb} "${path}"`;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
