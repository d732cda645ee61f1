/** What may be done to the world, and how often against each other; each schedule has its own leanings. */
export const actions = {
  request: 40,
  pause: 6,
  resume: 14,
  crash: 5,
  start: 9,
  "litestream dies": 2,
  "litestream syncs": 8,
  park: 8,
  release: 5,
  wakes: 4,
  drain: 2,
  prune: 4,
  clock: 5,
  refused: 1,
  disk: 3,
  bucket: 1,
} as const;

export type Action = keyof typeof actions;
