/** Loaded into a worker by NODE_OPTIONS: SIGUSR2 collects its garbage, so that its memory can be compared. */
process.on("SIGUSR2", () => {
  if (globalThis.gc === undefined) throw new Error("This is loaded with --expose-gc.");
  globalThis.gc();
});
