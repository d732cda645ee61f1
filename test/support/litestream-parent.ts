import { superviseLitestream } from "../../app/storage/litestream.ts";
import { collectLog, litestreamBinary, litestreamConfig } from "./litestream.ts";

// A host that a test can kill: supervises Litestream on the given data folder, prints its process id, and stays. SIGTERM
// makes it exit without stopping Litestream first.
const [dataFolder, path] = process.argv.slice(2);
if (dataFolder === undefined) throw new Error("usage: litestream-parent.ts DATA_FOLDER [PATH]");
process.on("SIGTERM", () => process.exit(3));
const litestream = await superviseLitestream({
  binary: litestreamBinary(),
  configPath: litestreamConfig,
  dataFolder,
  environment: path === undefined ? process.env : { ...process.env, PATH: path },
  log: collectLog(),
});
console.log((await litestream.control.info()).pid);
setInterval(() => {}, 60_000);
