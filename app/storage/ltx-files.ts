/** A file of Litestream's replica, by its key: `…/ltx/<level>/<first txid>-<last txid>.ltx`. */
export interface LtxFile {
  readonly key: string;
  readonly level: number;
  readonly first: number;
  readonly last: number;
}

const ltxKey = /\/ltx\/(\d+)\/([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/;
/** Where an LTX file's header has the time of its last transaction: 8 bytes, epoch milliseconds. */
const timestampOffset = 32;
/** Where it has the offset and the size of what was read of the WAL, 8 bytes each, and then the WAL's first salt. */
const walOffset = 48;
/** Of an LTX file's header. */
export const ltxHeaderBytes = 100;

/** What of a listing are such files. */
export function ltxFiles(keys: readonly string[]): readonly LtxFile[] {
  return keys.flatMap((key) => {
    const [, level, first, last] = ltxKey.exec(key) ?? [];
    if (level === undefined || first === undefined || last === undefined) return [];
    return [
      { key, level: Number(level), first: Number.parseInt(first, 16), last: Number.parseInt(last, 16) },
    ];
  });
}

/**
 * The txids up to which files follow on each other without a gap, ascending. Litestream checks that for the newest txid
 * only: asked for another one, it would leave out what is missing.
 */
export function reachableTxids(files: readonly LtxFile[]): readonly number[] {
  const reached: number[] = [];
  for (const { first, last } of files.toSorted((a, b) => a.last - b.last || a.first - b.first)) {
    const before = reached.at(-1) === last ? reached.at(-2) : reached.at(-1);
    if (reached.at(-1) !== last && first <= (before ?? 0) + 1) reached.push(last);
  }
  return reached;
}

/** When the last transaction of an LTX file was made, epoch milliseconds; null if this is none. */
export function ltxTimestamp(bytes: Uint8Array): number | null {
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (header.length < timestampOffset + 8 || header.toString("latin1", 0, 4) !== "LTX1") return null;
  return Number(header.readBigUInt64BE(timestampOffset));
}

/** Which WAL an LTX file was read from, by its first salt, and up to where; null if this is none. */
export function ltxWal(bytes: Uint8Array): { readonly salt: number; readonly endBytes: number } | null {
  const header = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (header.length < ltxHeaderBytes || header.toString("latin1", 0, 4) !== "LTX1") return null;
  const endBytes = Number(header.readBigInt64BE(walOffset) + header.readBigInt64BE(walOffset + 8));
  return { salt: header.readUInt32BE(walOffset + 16), endBytes };
}
