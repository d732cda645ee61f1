import type { OutgoingHttpHeaders } from "node:http";
import type { Context } from "hono";
import { forwardedHeader, hostHeader, notHereHeader, viaHeader } from "./arrival.ts";
import { endToEnd } from "./end-to-end.ts";
import type { ForwardedRequest } from "./forward.ts";
import { HttpProblem } from "./problems.ts";
import type { HttpEnv } from "./request-context.ts";
import { maxHeadBytes } from "./server.ts";

/** Said anew by each who sends a request on, or true only for the Machine that got it. */
const ownWords = new Set([
  "content-length",
  "fly-replay-failed",
  "fly-replay-src",
  forwardedHeader,
  hostHeader,
  notHereHeader,
  viaHeader,
  "x-forwarded-for",
  "x-request-id",
]);

/**
 * A request as another host gets it: as it came here, and with the marker by which that host knows whence and why. Throws
 * HttpProblem `headers_too_large` if its server would not take that much.
 */
export function forwardedRequest(
  c: Context<HttpEnv>,
  body: Uint8Array | null,
  marker: string,
): ForwardedRequest {
  const { raw } = c.req;
  const headers: OutgoingHttpHeaders = {};
  for (const [name, value] of endToEnd(raw.headers)) if (!ownWords.has(name)) headers[name] = value;
  headers["x-request-id"] = c.var.requestId;
  const hops = forwardedFor(c);
  if (hops !== "") headers["x-forwarded-for"] = hops;
  headers["x-forwarded-proto"] ??= new URL(raw.url).protocol.slice(0, -1);
  headers[forwardedHeader] = marker;
  const path = pathOf(raw.url);
  refuseLargeHead(path, headers);
  return { method: raw.method, path, headers, body, gone: raw.signal };
}

/** For what is sent besides: the method, the version, the headers of the connection, the body's length. */
const ownHeadBytes = 256;

function refuseLargeHead(path: string, headers: OutgoingHttpHeaders): void {
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${String(value)}\r\n`.length);
  const bytes = fields.reduce((sum, size) => sum + size, path.length + ownHeadBytes);
  if (bytes > maxHeadBytes)
    throw new HttpProblem(
      "headers_too_large",
      `The request goes on to another host, and with what is added for that its path and headers have ${bytes} bytes; ${maxHeadBytes} are taken. Send fewer.`,
    );
}

/** Who has asked, and through whom: each proxy adds from whom it got the request. */
function forwardedFor(c: Context<HttpEnv>): string {
  const incoming = c.env?.incoming;
  const hops = [c.req.header("x-forwarded-for"), incoming?.socket.remoteAddress];
  return hops.filter((hop) => hop !== undefined).join(", ");
}

/** Path and query of a URL. */
function pathOf(url: string): string {
  return url.slice(url.indexOf("/", url.indexOf("//") + 2));
}
