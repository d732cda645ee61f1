import { parentPort, workerData } from "node:worker_threads";
import { findDamage } from "./check-file.ts";

const { path, full } = workerData as { readonly path: string; readonly full: boolean };
parentPort?.postMessage(findDamage(path, full));
