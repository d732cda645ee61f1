import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { objectStoreContract } from "./object-store.contract.ts";

objectStoreContract("a directory", async () => {
  const baseDir = await mkdtemp(join(tmpdir(), "holdfast-store-test-"));
  return {
    url: "file:not/made yet/störe",
    settings: { baseDir },
    close: () => rm(baseDir, { recursive: true, force: true }),
  };
});
