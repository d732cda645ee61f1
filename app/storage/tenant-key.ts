import { randomBytes } from "node:crypto";
import * as z from "zod";
import {
  clearCodec,
  openBytes,
  sealBytes,
  sealingCodec,
  toKey,
  UnreadableValueError,
  type Codec,
} from "./codec.ts";
import { TenantUnavailableError } from "./errors.ts";
import { type ObjectStore, PreconditionFailedError } from "./object-store.ts";

/** The master keys by their id; the first wraps new data keys, all of them unwrap. Each is 32 bytes. */
export type MasterKeys = readonly { readonly id: string; readonly key: Uint8Array }[];

/** `keys/<t>.json`: the tenant's data keys, each wrapped by a master key; the last one seals new values. */
const wrappedKeys = z.looseObject({
  keys: z.array(z.object({ id: z.string(), masterKeyId: z.string(), wrapped: z.base64() })).min(1),
});

/** The object that holds the tenant's data keys. */
export function dataKeyKey(tenantId: string): string {
  return `keys/${tenantId}.json`;
}

/**
 * The codec of the tenant: reads its data key, or makes one for a tenant that has none. `sealedWith` is the key that its
 * record names: then nothing but that key will do. Throws TenantUnavailableError.
 */
export async function tenantCodec(
  store: ObjectStore,
  tenantId: string,
  { masterKeys, sealedWith }: { readonly masterKeys: MasterKeys; readonly sealedWith: string | null },
): Promise<Codec> {
  const master = masterKeys[0];
  if (master === undefined) {
    if (sealedWith === null) return clearCodec;
    throw new TenantUnavailableError(
      `The values of tenant "${tenantId}" are sealed, and HOLDFAST_MASTER_KEY is not set.`,
      { retryAfterSeconds: 60 },
    );
  }
  const objectKey = dataKeyKey(tenantId);
  const existing = await store.get(objectKey);
  if (existing !== undefined) return unwrap(tenantId, existing.body, masterKeys);
  if (sealedWith !== null)
    throw new TenantUnavailableError(
      `The object ${objectKey} is gone, and the values of tenant "${tenantId}" are sealed with it. Put it back from a backup.`,
      { retryAfterSeconds: 60 },
    );
  const dataKey = randomBytes(32);
  const wrapped = Buffer.from(sealBytes(toKey(master.key), dataKey, wrapPlace(tenantId, "1"))).toString(
    "base64",
  );
  const body = JSON.stringify({ keys: [{ id: "1", masterKeyId: master.id, wrapped }] });
  try {
    await store.put(objectKey, body, { ifNoneMatch: "*" });
  } catch (error) {
    // An earlier attempt of ours, or another host's, may have been applied: what is there now is the key.
    const settled = await store.get(objectKey);
    if (settled !== undefined) return unwrap(tenantId, settled.body, masterKeys);
    if (error instanceof PreconditionFailedError)
      throw new TenantUnavailableError(`The data key of tenant "${tenantId}" was destroyed just now.`, {
        cause: error,
      });
    throw error;
  }
  return sealingCodec("1", dataKey);
}

function unwrap(tenantId: string, body: Uint8Array, masterKeys: MasterKeys): Codec {
  const record = parse(tenantId, body);
  const current = record.keys.at(-1);
  const master = masterKeys.find(({ id }) => id === current?.masterKeyId);
  if (current === undefined || master === undefined)
    throw new TenantUnavailableError(
      `The data key of tenant "${tenantId}" is wrapped by master key "${current?.masterKeyId}", which HOLDFAST_MASTER_KEY does not hold.`,
      { retryAfterSeconds: 60 },
    );
  try {
    const wrapped = Buffer.from(current.wrapped, "base64");
    return sealingCodec(current.id, openBytes(toKey(master.key), wrapped, wrapPlace(tenantId, current.id)));
  } catch (error) {
    if (!(error instanceof UnreadableValueError)) throw error;
    throw new TenantUnavailableError(
      `The data key of tenant "${tenantId}" does not open with master key "${master.id}". Was HOLDFAST_MASTER_KEY changed?`,
      { cause: error, retryAfterSeconds: 60 },
    );
  }
}

function parse(tenantId: string, body: Uint8Array): z.infer<typeof wrappedKeys> {
  try {
    return wrappedKeys.parse(JSON.parse(new TextDecoder().decode(body)));
  } catch (error) {
    throw new TenantUnavailableError(`The object ${dataKeyKey(tenantId)} is not readable.`, {
      cause: error,
      retryAfterSeconds: 60,
    });
  }
}

function wrapPlace(tenantId: string, keyId: string): string {
  return `keys:${tenantId}:${keyId}`;
}
