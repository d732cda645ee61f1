import { signToken } from "holdfast";

/** How a person reaches a worker that runs on this machine. */
export interface WayIn {
  readonly url: string;
  readonly token: string;
}

/** A token that can start and read runs of `tenant`, for 30 days. */
export async function makeWayIn(options: {
  readonly url: string;
  readonly tenant: string;
  /** HOLDFAST_TOKEN_SECRET; while rotating the first of two signs. */
  readonly tokenSecret: string;
}): Promise<WayIn> {
  const { url, tenant, tokenSecret } = options;
  const secret = tokenSecret.split(",")[0]?.trim() ?? "";
  const token = await signToken(
    { tenant, sub: "dev", scope: "runs:read runs:write", expiresIn: "30 days" },
    secret,
  );
  return { url, token };
}

/** The page with its token in the fragment, which no browser sends to a server. */
export function pageLink({ url, token }: WayIn): string {
  return `${url}/#token=${token}`;
}

/** One line for a POSIX shell that starts a run and waits for its end. */
export function curlStart({ url, token }: WayIn, agent: string, input: unknown): string {
  return [
    "curl -sS",
    shellQuoted(`${url}/v1/agents/${agent}/runs?wait=30s`),
    `-H ${shellQuoted(`authorization: Bearer ${token}`)}`,
    `-H ${shellQuoted("content-type: application/json")}`,
    `-d ${shellQuoted(JSON.stringify({ input }))}`,
  ].join(" ");
}

export function shellQuoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
