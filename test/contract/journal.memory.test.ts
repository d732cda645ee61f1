import { MemoryFile } from "../fakes/memory-file.ts";
import { MemoryJournal, type MemoryTransaction } from "../fakes/memory-journal.ts";
import { journalContract } from "./journal.contract.ts";

journalContract("in memory", async () => {
  const file = new MemoryFile();
  const store = { error: null as Error | null, asked: 0 };
  const journal = new MemoryJournal(file, async () => {
    store.asked += 1;
    if (store.error !== null) throw store.error;
  });
  return {
    journal,
    store,
    set: async (tx, key, value) => (tx as MemoryTransaction).set(key, value),
    get: async (key) => file.state.rows.get(key),
  };
});
