import { element, find, moment, say, show } from "./elements.js";
import { api } from "./session.js";

const maxShownRuns = 500;
let runs = new Map();
let olderCursor = null;

export function clearList() {
  runs = new Map();
  olderCursor = null;
  find("list").replaceChildren();
}

/** The run that the address names, or null. */
export const currentRun = () => new URLSearchParams(location.hash.slice(1)).get("run");

export function addRun(run) {
  runs.set(run.id, run);
  showList();
}

/** Keeps older pages that were loaded: only the newest runs are read again. */
export async function refreshList(signal) {
  const first = runs.size === 0;
  const page = await api("/v1/runs?limit=50", { signal });
  for (const run of page.items) runs.set(run.id, run);
  if (first) olderCursor = page.next;
  showList();
}

export async function loadOlder(signal) {
  find("older").disabled = true;
  try {
    const page = await api(`/v1/runs?limit=50&cursor=${encodeURIComponent(olderCursor)}`, { signal });
    if (signal.aborted) return;
    for (const run of page.items) runs.set(run.id, run);
    olderCursor = page.next;
    showList();
  } catch (error) {
    if (!signal.aborted) say("list-problem", error.message);
  } finally {
    find("older").disabled = false;
  }
}

export function markCurrent() {
  for (const item of find("list").children) {
    if (item.dataset.id === currentRun()) item.firstChild.setAttribute("aria-current", "true");
    else item.firstChild.removeAttribute("aria-current");
  }
}

function showList() {
  const newestFirst = [...runs.values()].toSorted((a, b) =>
    a.createdAt < b.createdAt || (a.createdAt === b.createdAt && a.id < b.id) ? 1 : -1,
  );
  const shown = newestFirst.slice(0, maxShownRuns);
  runs = new Map(shown.map((run) => [run.id, run]));
  const list = find("list");
  const items = new Map([...list.children].map((item) => [item.dataset.id, item]));
  // Items that are there already are changed in place: the focus stays where it is.
  shown.forEach((run, index) => {
    const item = items.get(run.id) ?? runItem(run.id);
    items.delete(run.id);
    if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
    const [agent, status, note] = item.firstChild.children;
    agent.textContent = run.agent;
    status.textContent = run.status;
    status.className = `status ${run.status}`;
    note.textContent = `${moment(run.createdAt)} · ${run.id}`;
  });
  for (const item of items.values()) item.remove();
  markCurrent();
  show("empty", shown.length === 0);
  show("older", olderCursor !== null && shown.length < maxShownRuns);
  const agents = [...new Set(shown.map((run) => run.agent))].toSorted((a, b) => a.localeCompare(b));
  find("agents").replaceChildren(...agents.map((agent) => element("option", { value: agent })));
}

function runItem(id) {
  const link = element(
    "a",
    { href: `#run=${encodeURIComponent(id)}` },
    element("span"),
    element("span"),
    element("small"),
  );
  const item = element("li", {}, link);
  item.dataset.id = id;
  return item;
}
