import { mkdir, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { readWalSalt } from "../../app/storage/local-loss.ts";

/** As Litestream leaves it beside the file when it has shipped the WAL up to its end. */
export async function noteShippedWal(path: string, txid: number): Promise<void> {
  const header = Buffer.alloc(100);
  header.write("LTX1", "latin1");
  header.writeBigInt64BE(32n, 48);
  header.writeBigInt64BE(BigInt((await stat(`${path}-wal`)).size - 32), 56);
  header.writeUInt32BE(readWalSalt(`${path}-wal`) ?? 0, 64);
  const name = txid.toString(16).padStart(16, "0");
  const shipped = join(dirname(path), ".tenant.db-litestream/ltx/0");
  await mkdir(shipped, { recursive: true });
  await writeFile(join(shipped, `${name}-${name}.ltx`), header);
}
