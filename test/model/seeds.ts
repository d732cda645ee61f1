/** How many schedules are played, and from which seed on. */
export const firstSeed = Number(process.env["MODEL_SEED"] ?? 1);
export const seeds = Number(process.env["MODEL_SEEDS"] ?? 300);
