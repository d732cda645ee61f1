import { say } from "./elements.js";

/** After an error; the host may be coming back. */
const againMs = 2_000;
/** What a repetition does not mend. */
const final = [400, 401, 403, 404];

/**
 * Runs `work` until the signal or until it answers false; a number is the wait until the next time. What goes wrong is shown
 * in the element `problemId`, and tried again later. A token that the host refuses is told by the document's event "refused".
 */
export async function repeat(signal, { everyMs, problemId }, work) {
  while (!signal.aborted) {
    let waitMs = everyMs;
    try {
      const next = await work(signal);
      if (signal.aborted) return;
      say(problemId, null);
      if (next === false) return;
      if (typeof next === "number") waitMs = next;
    } catch (error) {
      if (signal.aborted) return;
      say(problemId, error.message);
      if (error.status === 401) document.dispatchEvent(new CustomEvent("refused", { detail: error.message }));
      if (final.includes(error.status)) return;
      waitMs = againMs;
    }
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    if (document.hidden)
      await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  }
}
