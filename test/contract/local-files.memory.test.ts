import { MemoryDisk, type MemoryDatabase } from "../fakes/memory-disk.ts";
import { MemoryFiles } from "../fakes/memory-files.ts";
import { MemoryStore } from "../fakes/memory-store.ts";
import { localFilesContract } from "./local-files.contract.ts";

localFilesContract("in memory", async () => {
  const disk = new MemoryDisk();
  const database = (path: string): MemoryDatabase => {
    const folder = disk.folderOf(path);
    if (folder === undefined) throw new Error(`There is no folder for ${path}.`);
    const name = path.endsWith("restoring.db") ? "scratch" : "file";
    return (folder[name] ??= { writes: [], checkpointed: 0, damaged: false });
  };
  return {
    files: new MemoryFiles(disk),
    store: new MemoryStore(),
    write: async (path, fact) => void database(path).writes.push(fact),
    facts: async (path) => {
      const folder = disk.folderOf(path);
      const found = path.endsWith("restoring.db") ? folder?.scratch : folder?.file;
      return found?.writes ?? null;
    },
    shorten: async (path) => void database(path).writes.pop(),
    damage: async (path) => void (database(path).damaged = true),
    noteShipped: async (path, txid) => {
      const folder = disk.folderOf(path);
      if (folder === undefined) return;
      folder.shipping ??= { taken: [] };
      folder.shipping.taken.push({ txid, upTo: database(path).writes.length, ltx: null });
    },
  };
});
