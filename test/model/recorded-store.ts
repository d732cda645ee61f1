import type { PutCondition } from "../../app/storage/object-store.ts";
import type { TenantRecord } from "../../app/storage/records.ts";
import { MemoryStore } from "../fakes/memory-store.ts";

/** The store itself; the witness is told of each record of a tenant that is written. */
export class RecordedStore extends MemoryStore {
  readonly #recorded: (tenantId: string, record: TenantRecord) => void;

  constructor(recorded: (tenantId: string, record: TenantRecord) => void) {
    super();
    this.#recorded = recorded;
  }

  override async put(
    key: string,
    body: Uint8Array | string,
    condition?: PutCondition,
  ): Promise<{ readonly etag: string }> {
    const put = await super.put(key, body, condition);
    const [, tenantId] = /^tenants\/(.*)\/tenant\.json$/.exec(key) ?? [];
    if (tenantId !== undefined) this.#recorded(tenantId, JSON.parse(put.etag) as TenantRecord);
    return put;
  }
}
