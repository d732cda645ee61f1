/** They speak of one connection, not of the message (RFC 9110, section 7.6.1). */
const hopByHop = new Set([
  "connection",
  "expect",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** The headers that a proxy hands on; names are in lower case. Those that `connection` names stay behind too. */
export function endToEnd(headers: Iterable<readonly [string, string]>): [string, string][] {
  const all = [...headers].map(([name, value]): [string, string] => [name, value]);
  const named = new Set(
    all.flatMap(([name, value]) =>
      name === "connection" ? value.split(",").map((token) => token.trim().toLowerCase()) : [],
    ),
  );
  return all.filter(([name]) => !hopByHop.has(name) && !named.has(name));
}
