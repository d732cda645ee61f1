const maxShownCharacters = 100_000;

export const find = (id) => document.getElementById(id);

/** Children are nodes or text; nothing is ever parsed as markup. */
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function fold(name, value) {
  const text = typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "");
  const shown = text.length > maxShownCharacters ? `${text.slice(0, maxShownCharacters)}\n… cut here` : text;
  const summary = element(
    "summary",
    { textContent: `${name} ` },
    element("small", { textContent: size(text.length) }),
  );
  return element("details", {}, summary, element("pre", { textContent: shown }));
}

export function show(id, visible) {
  find(id).hidden = !visible;
}

export function say(id, message) {
  const place = find(id);
  if (place.textContent !== (message ?? "")) place.textContent = message ?? "";
  place.hidden = message === null;
}

export function moment(iso) {
  return iso === null ? null : new Date(iso).toLocaleString();
}

export function duration(ms) {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(2)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor(ms / 1_000) % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function size(characters) {
  return characters < 1_000 ? `${characters} characters` : `${(characters / 1_000).toFixed(1)} k characters`;
}
