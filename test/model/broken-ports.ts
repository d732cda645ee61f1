import {
  StoreUnavailableError,
  type ObjectStore,
  type StoredObject,
} from "../../app/storage/object-store.ts";
import type { TenantRecord } from "../../app/storage/records.ts";

export function isTenants(key: string): boolean {
  return key.endsWith("/tenant.json");
}

export function isOthersRecord(key: string, id: string): boolean {
  return key.startsWith("hosts/") && key !== `hosts/${id}.json`;
}

export function edited<Value extends object>(
  object: StoredObject | undefined,
  edit: (value: Value) => Value,
): StoredObject | undefined {
  if (object === undefined) return undefined;
  const value = JSON.parse(Buffer.from(object.body).toString()) as Value;
  return { ...object, body: Buffer.from(JSON.stringify(edit(value))) };
}

export function isMarked(body: Uint8Array | string): boolean {
  const { lineage, epoch } = JSON.parse(String(body)) as TenantRecord;
  return lineage.some((entry) => entry.epoch === epoch && entry.from !== null);
}

export function markingItself(body: string): string {
  const record = JSON.parse(body) as TenantRecord;
  const lineage = record.lineage.map((entry) => ({ ...entry, from: entry.from ?? { epoch: 0, txid: 0 } }));
  return JSON.stringify({ ...record, lineage });
}

export function changed<Port extends object>(port: Port, changes: Partial<Port>): Port {
  return new Proxy(port, {
    get(target, name) {
      const value: unknown = Reflect.get(changes, name) ?? Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

export function withGetter<Port extends object>(port: Port, name: keyof Port, read: () => unknown): Port {
  return new Proxy(port, {
    get(target, asked) {
      if (asked === name) return read();
      const value: unknown = Reflect.get(target, asked, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** A way to the store on which a host hears nothing of its own record as long as `isDeaf` says so. */
export function deafToItsRecord(store: ObjectStore, hostId: string, isDeaf: () => boolean): ObjectStore {
  const assertHeard = (key: string): void => {
    if (isDeaf() && key === `hosts/${hostId}.json`) throw new StoreUnavailableError("It is cut off.");
  };
  return changed(store, {
    get: async (key) => {
      assertHeard(key);
      return await store.get(key);
    },
    put: async (key, ...rest) => {
      assertHeard(key);
      return await store.put(key, ...rest);
    },
  });
}
