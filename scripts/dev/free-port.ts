import { createServer } from "node:net";

const maxPort = 65_535;

/** The first port from `wanted` on that nobody listens on, within `tries`; `wanted` 0 finds any. Throws if there is none. */
export async function findFreePort(wanted: number, tries: number): Promise<number> {
  for (let port = wanted; port < wanted + tries && port <= maxPort; port += 1) {
    const free = await tryPort(port);
    if (free !== undefined) return free;
  }
  throw new Error(`No port from ${wanted} on is free, of ${tries} tried. Choose another: PORT=… npm run dev`);
}

/** The port that was listened on for a moment, or `undefined` if it is taken. */
function tryPort(port: number): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>();
  const server = createServer();
  server.once("error", (error) => {
    if ("code" in error && (error.code === "EADDRINUSE" || error.code === "EACCES")) resolve(undefined);
    else reject(error);
  });
  // Without a host it is "::" where there is IPv6 and "0.0.0.0" elsewhere, as the worker has it.
  server.listen(port, () => {
    const address = server.address();
    const found = typeof address === "object" && address !== null ? address.port : undefined;
    server.close(() => resolve(found));
  });
  return promise;
}
