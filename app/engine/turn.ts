/** Resolves when all code that can go on without waiting for anything outside has gone on: after the microtasks. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
