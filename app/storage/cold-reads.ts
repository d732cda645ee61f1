import type { Codec } from "./codec.ts";
import type { ObjectStore } from "./object-store.ts";
import type { TenantRecord } from "./records.ts";
import { currentSnapshot, fetchSnapshot, openSnapshot, type Snapshot } from "./snapshot.ts";
import { tenantCodec, type MasterKeys } from "./tenant-key.ts";

interface ColdReadPorts {
  readonly store: ObjectStore;
  readonly masterKeys: MasterKeys;
}

/**
 * What an opening reads from the store beside the record. All of it may be sent together with the claim, and is used only
 * after the claim was confirmed: a snapshot is what the record says, by its hash, whenever it is read; a data key that is
 * in use is only changed by an owner, and there was none between the record's version that we read and our claim on it.
 */
export class ColdReads {
  readonly #tenantId: string;
  readonly #ports: ColdReadPorts;
  #codec: Promise<Codec> | null = null;
  #snapshot: { readonly key: string; readonly body: Promise<Uint8Array | undefined> } | null = null;

  constructor(tenantId: string, ports: ColdReadPorts) {
    this.#tenantId = tenantId;
    this.#ports = ports;
  }

  /** To be called when the claim is about to be sent. A snapshot is not read where a local file will probably do. */
  begin(before: TenantRecord, { localEpoch }: { readonly localEpoch: number | null }): void {
    // Without a key so far this would make one, before the tenant is ours.
    if (before.host === null && before.dataKey != null) void this.#readKey(before.dataKey);
    const snapshot = localEpoch === null ? currentSnapshot(before) : undefined;
    if (snapshot !== undefined && typeof snapshot !== "string") void this.#readSnapshot(snapshot);
  }

  /** To be called when the tenant is ours; `before` is its record as it was. Throws TenantUnavailableError. */
  codec(before: TenantRecord | undefined): Promise<Codec> {
    return this.#codec ?? this.#readKey(before?.dataKey ?? null);
  }

  /** The packed file that a snapshot holds. Throws with what is wrong with it. */
  async openSnapshot(snapshot: Snapshot, codec: Promise<Codec>): Promise<Uint8Array> {
    const body = this.#snapshot?.key === snapshot.key ? this.#snapshot.body : this.#readSnapshot(snapshot);
    const parts = { body: await body, codec: await codec };
    return openSnapshot(this.#tenantId, snapshot, parts);
  }

  #readKey(sealedWith: string | null): Promise<Codec> {
    const { store, masterKeys } = this.#ports;
    this.#codec = tenantCodec(store, this.#tenantId, { masterKeys, sealedWith });
    this.#codec.catch(() => {});
    return this.#codec;
  }

  #readSnapshot(snapshot: Snapshot): Promise<Uint8Array | undefined> {
    const body = fetchSnapshot(this.#ports.store, snapshot);
    body.catch(() => {});
    this.#snapshot = { key: snapshot.key, body };
    return body;
  }
}
