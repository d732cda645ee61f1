import { resolve } from "node:path";

/** Where the clone lies, wherever the command was called from. */
export const projectFolder = resolve(import.meta.dirname, "../..");
