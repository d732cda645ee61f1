/** The token and what it says of itself; null before there is one. Whether it is true is for the host to check. */
export let session = readSession();

/** A token in the address is moved out of it at once, so that it stays in no history and no bookmark. */
export function takeTokenFromAddress() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token");
  if (token === null) return false;
  const run = fragment.get("run");
  history.replaceState(null, "", run === null ? "#" : `#run=${encodeURIComponent(run)}`);
  enterSession(token, fragment.get("tenant") ?? "");
  return true;
}

export function enterSession(token, tenant) {
  sessionStorage.setItem("token", token);
  sessionStorage.setItem("tenant", tenant);
  session = readSession();
}

export function leaveSession() {
  sessionStorage.clear();
  session = null;
}

export async function api(path, { signal, ...init } = {}) {
  const headers = { ...init.headers, authorization: `Bearer ${session.token}` };
  if (session.tenant) headers["holdfast-tenant"] = session.tenant;
  let answer;
  try {
    answer = await fetch(path, { ...init, headers, signal });
  } catch (cause) {
    throw new Error("The host does not answer. Trying again.", { cause });
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  throw Object.assign(new Error(body.detail ?? `The host answered ${answer.status}.`), {
    status: answer.status,
  });
}

function readSession() {
  const token = sessionStorage.getItem("token");
  if (token === null) return null;
  let claims = {};
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(payload), (c) => c.charCodeAt(0))));
  } catch {
    // No readable token: the host's answer says so.
  }
  const scopes = String(claims.scope ?? "").split(" ");
  return {
    token,
    tenant: claims.tenant === undefined ? sessionStorage.getItem("tenant") : "",
    mayWrite: scopes.includes("runs:write") || scopes.includes("operator"),
  };
}
