import { parentPort, workerData } from "node:worker_threads";
import { findDamage, type Look } from "./check-file.ts";

parentPort?.postMessage(findDamage(workerData as Look));
