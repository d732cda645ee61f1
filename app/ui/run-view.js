import { duration, element, find, fold, moment, say, show } from "./elements.js";
import { repeat } from "./repeat.js";
import { addRun, currentRun, markCurrent } from "./run-list.js";
import { api } from "./session.js";

/** While a run works; one that sleeps or waits is looked at less often. */
const liveEveryMs = 500;
const parkedEveryMs = 2_000;
const maxShownRows = 2_000;
const ended = ["completed", "failed", "cancelled"];
/** Aborted when the page turns to another run. */
let runScope = new AbortController();

/** Shows the run that the address names, and follows it until `within` is aborted. */
export function showRun(within) {
  runScope.abort();
  runScope = new AbortController();
  const id = currentRun();
  markCurrent();
  show("run", id !== null);
  find("main").classList.toggle("open", id !== null);
  if (id === null) return;
  for (const part of ["facts", "values", "history", "live"]) find(part).replaceChildren();
  find("run-title").textContent = id;
  find("run-title").focus({ preventScroll: true });
  window.scrollTo(0, 0);
  say("run-problem", null);
  let after = 0;
  const look = async (signal) => {
    // The run first: when it has ended, the history that is read after it is whole.
    const run = await api(`/v1/runs/${encodeURIComponent(id)}`, { signal });
    if (signal.aborted) return false;
    showFacts(run);
    after = await appendHistory(run, after, signal);
    if (signal.aborted) return false;
    const isOver = ended.includes(run.status);
    const isFull = find("history").children.length >= maxShownRows;
    find("live").textContent = isFull ? `the first ${maxShownRows}` : isOver ? "" : "live";
    if (isOver) return false;
    return run.status === "queued" || run.status === "running" ? liveEveryMs : parkedEveryMs;
  };
  const scope = AbortSignal.any([runScope.signal, within]);
  void repeat(scope, { everyMs: liveEveryMs, problemId: "run-problem" }, look);
}

function showFacts(run) {
  addRun(run);
  find("run-title").textContent = `${run.agent} · ${run.id}`;
  const facts = [
    ["Status", element("span", { className: `status ${run.status}`, textContent: run.status })],
    ["Created", moment(run.createdAt)],
    ["Started", moment(run.startedAt)],
    ["Ended", moment(run.endedAt)],
    ["Took", run.endedAt && duration(Date.parse(run.endedAt) - Date.parse(run.createdAt))],
    ["Wakes", ended.includes(run.status) ? null : moment(run.wakeAt)],
    ["Version", run.version],
    ["Parent", run.parent],
    ["Error", run.error && `${run.error.name}: ${run.error.message}`],
  ];
  find("facts").replaceChildren(
    ...facts
      .filter(([, value]) => value)
      .flatMap(([name, value]) => [element("dt", { textContent: name }), element("dd", {}, value)]),
  );
  showValue("Input", run.input, false);
  if (ended.includes(run.status)) showValue("Output", run.output, true);
}

/** Made once: what the reader has folded or scrolled stays so. */
function showValue(name, value, isOpen) {
  const values = find("values");
  if ([...values.children].some((child) => child.dataset.name === name)) return;
  const folded = fold(name, value);
  folded.dataset.name = name;
  folded.open = isOpen;
  values.append(folded);
}

/** Adds the rows after `after`, up to a bound, and answers the place of the last one. */
async function appendHistory(run, after, signal) {
  const body = find("history");
  while (body.children.length < maxShownRows) {
    const page = await api(`/v1/runs/${encodeURIComponent(run.id)}/history?limit=500&after=${after}`, {
      signal,
    });
    if (signal.aborted) return after;
    const rows = page.items.slice(0, maxShownRows - body.children.length);
    body.append(...rows.map((event) => historyRow(event, Date.parse(run.createdAt))));
    after = page.items.at(-1)?.seq ?? after;
    if (page.next === null) break;
  }
  return after;
}

function historyRow(event, startedAt) {
  const name = [event.path, event.name].filter(Boolean).join(" / ");
  const cell = (content, className = "") => element("td", { className }, content);
  return element(
    "tr",
    {},
    cell(String(event.seq)),
    cell(event.kind, /failed|rejected/.test(event.kind) ? "bad" : ""),
    cell(event.occurrence > 0 ? `${name} (${event.occurrence + 1})` : name),
    cell(event.attempt > 0 ? String(event.attempt) : ""),
    cell(new Date(event.at).toLocaleTimeString()),
    cell(duration(Date.parse(event.at) - startedAt)),
    cell(event.data === null ? "" : fold("data", event.data)),
  );
}
