import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  randomFillSync,
  type KeyObject,
} from "node:crypto";

import { UnreadableRunError } from "../engine/errors.ts";

/** A value as a row holds it: JSON text when `keyId` is null, else bytes sealed with that key. NULL stands for `undefined`. */
export interface SealedValue {
  readonly keyId: string | null;
  readonly data: string | Uint8Array | null;
}

/**
 * What recorded values pass on their way into the file and back. `place` is where the value stands (table, row, column)
 * and is bound to the bytes, so that a sealed value moved elsewhere does not open.
 */
export interface Codec {
  /** The key that new values are sealed with; null: they stay clear. */
  readonly keyId: string | null;
  seal(value: unknown, place: string): SealedValue;
  /** Throws UnreadableValueError. */
  open(sealed: SealedValue, place: string): unknown;
  /** As `seal`, for bytes that are no value of a row; without a key they stay as they are. */
  sealBytes(clear: Uint8Array, place: string): Uint8Array;
  /** What `sealBytes` made with the key of that id, null for none. Throws UnreadableValueError. */
  openBytes(bytes: Uint8Array, sealedWith: string | null, place: string): Uint8Array;
}

export class UnreadableValueError extends UnreadableRunError {
  override readonly name = "UnreadableValueError";
}

const cipher = "aes-256-gcm";
const ivLength = 12;
const tagLength = 16;
/** First byte of every sealed value, so that another layout can follow. */
const layout = 1;

/** Without a key values stay clear; what was sealed before cannot be read. */
export const clearCodec: Codec = {
  keyId: null,
  seal: (value) => ({ keyId: null, data: toText(value) }),
  open(sealed, place) {
    if (sealed.keyId !== null)
      throw new UnreadableValueError(
        `The value at ${place} is sealed with key "${sealed.keyId}", and HOLDFAST_MASTER_KEY is not set.`,
      );
    return fromText(sealed.data, place);
  },
  sealBytes: (clear) => clear,
  openBytes(bytes, sealedWith, place) {
    if (sealedWith === null) return bytes;
    throw new UnreadableValueError(
      `What is at ${place} is sealed with key "${sealedWith}", and there is none.`,
    );
  },
};

/** AES-256-GCM with the tenant's data key; clear values from before there was a key stay readable. `key` is 32 bytes. */
export function sealingCodec(keyId: string, dataKey: Uint8Array): Codec {
  const key = toKey(dataKey);
  return {
    keyId,
    seal(value, place) {
      const text = toText(value);
      return { keyId, data: text === null ? null : sealBytes(key, Buffer.from(text), place) };
    },
    open(sealed, place) {
      if (sealed.keyId === null) return clearCodec.open(sealed, place);
      if (sealed.keyId !== keyId)
        throw new UnreadableValueError(
          `The value at ${place} is sealed with the unknown key "${sealed.keyId}".`,
        );
      if (sealed.data === null) return undefined;
      if (typeof sealed.data === "string")
        throw new UnreadableValueError(`The value at ${place} should be sealed bytes and is text.`);
      return fromText(openBytes(key, sealed.data, place).toString(), place);
    },
    sealBytes: (clear, place) => sealBytes(key, clear, place),
    openBytes(bytes, sealedWith, place) {
      if (sealedWith === null) return bytes;
      if (sealedWith === keyId) return openBytes(key, bytes, place);
      throw new UnreadableValueError(`What is at ${place} is sealed with the unknown key "${sealedWith}".`);
    },
  };
}

/** A key that was prepared once: from its bytes, sealing takes six times as long (35 µs against 5.6 for 200 bytes). */
export function toKey(bytes: Uint8Array): KeyObject {
  return createSecretKey(bytes);
}

/** Layout: one byte `1`, 12 bytes nonce, ciphertext, 16 bytes tag (NIST SP 800-38D). */
export function sealBytes(key: KeyObject, clear: Uint8Array, place: string): Uint8Array {
  const iv = freshNonce();
  const sealer = createCipheriv(cipher, key, iv).setAAD(Buffer.from(place));
  return Buffer.concat([Buffer.of(layout), iv, sealer.update(clear), sealer.final(), sealer.getAuthTag()]);
}

/** Throws UnreadableValueError when the bytes were changed, moved, or sealed with another key. */
export function openBytes(key: KeyObject, sealed: Uint8Array, place: string): Buffer {
  if (sealed.length < 1 + ivLength + tagLength || sealed[0] !== layout)
    throw new UnreadableValueError(`The value at ${place} is not in a layout that this code knows.`);
  const iv = sealed.subarray(1, 1 + ivLength);
  const tag = sealed.subarray(sealed.length - tagLength);
  const opener = createDecipheriv(cipher, key, iv).setAAD(Buffer.from(place)).setAuthTag(tag);
  try {
    const text = opener.update(sealed.subarray(1 + ivLength, sealed.length - tagLength));
    return Buffer.concat([text, opener.final()]);
  } catch (error) {
    throw new UnreadableValueError(`The value at ${place} does not open with its key.`, { cause: error });
  }
}

/** Random bytes are drawn by the page: a call for twelve of them costs as much as sealing does. */
const nonces = { page: Buffer.alloc(ivLength * 256), used: ivLength * 256 };

/** Random, so that restored copies of a file, which know nothing of each other, do not repeat one. */
function freshNonce(): Uint8Array {
  if (nonces.used === nonces.page.length) {
    nonces.page = randomFillSync(Buffer.alloc(nonces.page.length));
    nonces.used = 0;
  }
  nonces.used += ivLength;
  return nonces.page.subarray(nonces.used - ivLength, nonces.used);
}

function toText(value: unknown): string | null {
  return value === undefined ? null : JSON.stringify(value);
}

function fromText(data: SealedValue["data"], place: string): unknown {
  if (data === null) return undefined;
  if (typeof data !== "string")
    throw new UnreadableValueError(`The value at ${place} should be text and is bytes.`);
  try {
    return JSON.parse(data);
  } catch (error) {
    throw new UnreadableValueError(`The value at ${place} is not JSON.`, { cause: error });
  }
}
