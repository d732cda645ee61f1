import type { PutCondition } from "../../app/storage/object-store.ts";
import type { TenantRecord } from "../../app/storage/records.ts";
import { MemoryStore } from "../fakes/memory-store.ts";

export interface StoreEvents {
  /** A tenant's record was written. */
  readonly recorded: (tenantId: string, record: TenantRecord) => void;
  readonly deleted: (key: string) => void;
}

/** The store itself, with somebody who looks on. */
export class RecordedStore extends MemoryStore {
  readonly #events: StoreEvents;

  constructor(events: StoreEvents) {
    super();
    this.#events = events;
  }

  override async put(
    key: string,
    body: Uint8Array | string,
    condition?: PutCondition,
  ): Promise<{ readonly etag: string }> {
    const put = await super.put(key, body, condition);
    const [, tenantId] = /^tenants\/(.*)\/tenant\.json$/.exec(key) ?? [];
    if (tenantId !== undefined) this.#events.recorded(tenantId, JSON.parse(put.etag) as TenantRecord);
    return put;
  }

  override async delete(key: string): Promise<void> {
    await super.delete(key);
    this.#events.deleted(key);
  }
}
