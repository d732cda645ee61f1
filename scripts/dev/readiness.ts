import { setTimeout as sleep } from "node:timers/promises";

const pollMs = 50;
const answerMs = 2_000;

/** Asks `/readyz`, which names no tenant and so wakes none. True when it answered 200; false if `signal` was first. */
export async function waitUntilReady(url: string, signal: AbortSignal): Promise<boolean> {
  while (!signal.aborted) {
    if (await isReady(url, signal)) return !signal.aborted;
    await sleep(pollMs, undefined, { signal }).catch(() => {});
  }
  return false;
}

async function isReady(url: string, signal: AbortSignal): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/readyz`, {
      signal: AbortSignal.any([signal, AbortSignal.timeout(answerMs)]),
    });
    await answer.body?.cancel();
    return answer.status === 200;
  } catch {
    return false;
  }
}
