/** What everything random of this run follows from. `DRILL_SEED` plays a run again that has failed. */
export const seed = Number(process.env["DRILL_SEED"] ?? Math.floor(Math.random() * 1e9));
