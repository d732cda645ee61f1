// All that comes from a run is set as text, never as markup: neither agents nor their users are trusted here.
import { duration, find, say, show } from "./elements.js";
import { repeat } from "./repeat.js";
import { addRun, clearList, loadOlder, refreshList } from "./run-list.js";
import { showRun } from "./run-view.js";
import { api, enterSession, leaveSession, session, takeTokenFromAddress } from "./session.js";

const listEveryMs = 3_000;
const tenantEveryMs = 5_000;
/** Aborted when the page turns to another token. */
let sessionScope = new AbortController();
/** Sent again with the same request until it has an answer, so that a repeat starts no second run. */
let startAttempt = null;

find("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  const { token, tenant } = event.target.elements;
  enterSession(token.value.trim(), tenant.value.trim());
  event.target.reset();
  open();
});
find("leave").addEventListener("click", () => {
  leaveSession();
  location.hash = "";
  open();
});
document.addEventListener("refused", (event) => {
  leaveSession();
  open();
  say("problem", event.detail);
});
find("older").addEventListener("click", () => void loadOlder(sessionScope.signal));
find("start").addEventListener("submit", (event) => {
  event.preventDefault();
  void startRun(event.target);
});
window.addEventListener("hashchange", () => {
  if (takeTokenFromAddress()) open();
  else if (session !== null) showRun(sessionScope.signal);
});
takeTokenFromAddress();
open();

function open() {
  sessionScope.abort();
  sessionScope = new AbortController();
  clearList();
  say("problem", null);
  show("enter", session === null);
  show("main", session !== null);
  show("leave", session !== null);
  show("tenant", false);
  if (session === null) {
    find("enter").elements.token.focus();
    return;
  }
  show("starter", session.mayWrite);
  const { signal } = sessionScope;
  void repeat(signal, { everyMs: listEveryMs, problemId: "list-problem" }, refreshList);
  void repeat(signal, { everyMs: tenantEveryMs, problemId: "problem" }, showTenant);
  showRun(signal);
}

async function showTenant(signal) {
  const tenant = await api("/v1/tenant", { signal });
  const { replication } = tenant;
  const behind =
    replication.oldestUndurableAt === null
      ? "everything durable"
      : `oldest undurable write ${duration(Date.now() - Date.parse(replication.oldestUndurableAt))} ago`;
  const parts = [
    tenant.id,
    tenant.state,
    tenant.reason,
    tenant.region,
    `replication ${replication.state}`,
    behind,
    replication.error,
  ];
  const line = find("tenant");
  line.textContent = parts.filter(Boolean).join(" · ");
  line.className = tenant.state === "unavailable" || replication.state === "failing" ? "bad" : "";
  show("tenant", true);
}

async function startRun(form) {
  const { agent, input } = form.elements;
  const button = form.querySelector("button");
  let request;
  try {
    request = JSON.stringify({ input: JSON.parse(input.value) });
  } catch (error) {
    return say("start-problem", `The input is not JSON: ${error.message}`);
  }
  const path = `/v1/agents/${encodeURIComponent(agent.value.trim())}/runs`;
  if (startAttempt?.path !== path || startAttempt.body !== request)
    startAttempt = { path, body: request, key: newKey() };
  button.disabled = true;
  try {
    const headers = { "content-type": "application/json", "idempotency-key": startAttempt.key };
    const run = await api(path, { method: "POST", body: request, headers });
    startAttempt = null;
    say("start-problem", null);
    addRun(run);
    location.hash = `run=${encodeURIComponent(run.id)}`;
  } catch (error) {
    say("start-problem", error.message);
  } finally {
    button.disabled = false;
  }
}

/** Not `crypto.randomUUID`: browsers have that on https and localhost only. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
