import { open } from "node:fs/promises";
import { errorCode } from "./error-code.ts";

/** Of SQLite's file format, section 4.1: its last bit says in which order the checksums take bytes. */
const magic = 0x377f0682;
const headerBytes = 32;
const frameHeaderBytes = 24;
/** So many frames are checked in one go, which takes the event loop about a millisecond. */
const framesAtOnce = 256;

/**
 * How many of the WAL's first `upTo` bytes SQLite would believe: it takes the first frame whose checksum is wrong for the
 * end, without a word, and with it goes all that was committed behind. 0 for a WAL that it would not read at all.
 */
export async function believedWalBytes(path: string, upTo: number): Promise<number> {
  const file = await openIfThere(path);
  if (file === null) return 0;
  try {
    const header = Buffer.alloc(headerBytes);
    const { bytesRead } = await file.read(header, 0, headerBytes, 0);
    const chain = bytesRead === headerBytes ? beginChain(header) : null;
    if (chain === null) return 0;
    const wanted = Math.ceil((upTo - headerBytes) / chain.frameBytes);
    const frames = Buffer.allocUnsafe(chain.frameBytes * Math.min(Math.max(wanted, 1), framesAtOnce));
    let believed = headerBytes;
    while (believed < upTo) {
      const { bytesRead: length } = await file.read(frames, 0, frames.length, believed);
      const good = chain.takeFrames(frames.subarray(0, length));
      believed += good;
      if (good < frames.length) break;
    }
    return believed;
  } finally {
    await file.close();
  }
}

interface Chain {
  readonly frameBytes: number;
  /** Gives the bytes of those frames, from the first on, that continue what was taken before. */
  takeFrames(bytes: Buffer): number;
}

/** Null for what is not the head of a WAL. */
function beginChain(header: Buffer): Chain | null {
  const kind = header.readUInt32BE(0);
  if (kind >>> 1 !== magic >>> 1) return null;
  const checksum = new Checksum(kind === magic);
  checksum.add(header.subarray(0, 24));
  if (!checksum.is(header, 24)) return null;
  const salts = header.subarray(16, 24);
  const frameBytes = frameHeaderBytes + header.readUInt32BE(8);
  return {
    frameBytes,
    takeFrames: (bytes) => {
      let at = 0;
      for (; at + frameBytes <= bytes.length; at += frameBytes) {
        const frame = bytes.subarray(at, at + frameBytes);
        if (!frame.subarray(8, 16).equals(salts)) return at;
        checksum.add(frame.subarray(0, 8));
        checksum.add(frame.subarray(frameHeaderBytes));
        if (!checksum.is(frame, 16)) return at;
      }
      return at;
    },
  };
}

/** SQLite's file format, section 4.2: each frame's checksum is over all that came before, too. */
class Checksum {
  readonly #littleEndian: boolean;
  #first = 0;
  #second = 0;

  constructor(littleEndian: boolean) {
    this.#littleEndian = littleEndian;
  }

  /** A multiple of 8 bytes. */
  add(bytes: Buffer): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at < bytes.byteLength; at += 8) {
      this.#first = (this.#first + view.getUint32(at, this.#littleEndian) + this.#second) >>> 0;
      this.#second = (this.#second + view.getUint32(at + 4, this.#littleEndian) + this.#first) >>> 0;
    }
  }

  is(bytes: Buffer, at: number): boolean {
    return bytes.readUInt32BE(at) === this.#first && bytes.readUInt32BE(at + 4) === this.#second;
  }
}

async function openIfThere(path: string): Promise<Awaited<ReturnType<typeof open>> | null> {
  try {
    return await open(path, "r");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return null;
    throw error;
  }
}
