import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Claimer } from "../../app/storage/claim.ts";
import { DirectoryStore } from "../../app/storage/directory-store.ts";
import { systemHostClock } from "../../app/storage/host-clock.ts";
import { fenceHost, OwnHostRecord, type HostIdentity } from "../../app/storage/host-record.ts";
import { FolderFiles } from "../../app/storage/folder-files.ts";
import { restoreReplica } from "../../app/storage/litestream-restore.ts";
import type { Litestream } from "../../app/storage/litestream.ts";
import type { OpenTenant, StoragePorts } from "../../app/storage/open-tenant.ts";
import type { ObjectStore } from "../../app/storage/object-store.ts";
import { Peers } from "../../app/storage/peers.ts";
import { readHostRecord, readTenantRecord, type TenantRecord } from "../../app/storage/records.ts";
import { connectTenant } from "../../app/storage/tenant-file.ts";
import { FaultyStore } from "../fakes/faulty-store.ts";
import { collectLog, litestreamBinary, LitestreamWorkspace } from "./litestream.ts";

/** A store in a temporary folder, and the records of hosts in it. */
export class StoreWorkspace {
  readonly folder: string;
  readonly inner: DirectoryStore;
  readonly store: FaultyStore;
  readonly log = collectLog();
  readonly #hosts: OwnHostRecord[] = [];

  private constructor(folder: string) {
    this.folder = folder;
    this.inner = new DirectoryStore(join(folder, "store"));
    this.store = new FaultyStore(this.inner);
  }

  static async open(): Promise<StoreWorkspace> {
    return new StoreWorkspace(await mkdtemp(join(tmpdir(), "holdfast-storage-")));
  }

  /** A host that beats every `ttlMs / 3`. What it said when it was fenced goes to `fencedBy`. */
  async host(
    identity: Partial<HostIdentity> = {},
    fencedBy: (why: string) => void = () => {},
  ): Promise<OwnHostRecord> {
    const whole = { ...identityOf("this-machine"), ...identity };
    const host = await OwnHostRecord.create(this.store, whole, this.log, fencedBy);
    this.#hosts.push(host);
    return host;
  }

  /** As who claims, with what it has seen of other hosts so far. */
  claimer({ identity }: OwnHostRecord, changes: Partial<Claimer> = {}): Claimer {
    const { id: hostId, machine, region } = identity;
    const peers = new Peers(this.store, hostId, systemHostClock);
    return { hostId, machine, region, peers, farFromHome: "unless-served", ...changes };
  }

  async hostState(id: string): Promise<string | undefined> {
    return (await readHostRecord(this.inner, id))?.value.state;
  }

  async tenantRecord(id: string): Promise<TenantRecord> {
    const found = await readTenantRecord(this.inner, id);
    if (found === undefined) throw new Error(`There is no record of tenant "${id}".`);
    return found.value;
  }

  /** Writes the tenant's record as someone else might have. */
  async editRecord(id: string, edit: (record: TenantRecord) => unknown): Promise<void> {
    const found = await this.tenantRecord(id);
    await this.inner.put(`tenants/${id}/tenant.json`, JSON.stringify(edit(found)));
  }

  async close(): Promise<void> {
    for (const host of this.#hosts) await host.stop();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  }
}

/** Ends the host's right as a taker would; true if it has none any more. */
export async function fenceNow(store: ObjectStore, hostId: string): Promise<boolean> {
  const seen = await readHostRecord(store, hostId);
  return seen === undefined || seen.value.state === "fenced" || (await fenceHost(store, hostId, seen));
}

export function identityOf(machine: string): HostIdentity {
  return { id: randomUUID(), machine, address: "http://127.0.0.1:1", region: "local", ttlMs: 600_000 };
}

/** A store and a real Litestream, on which tenants are opened. */
export class TenantWorkspace {
  readonly stores: StoreWorkspace;
  readonly litestreams: LitestreamWorkspace;
  readonly litestream: Litestream;
  readonly #opened: OpenTenant[] = [];

  private constructor(stores: StoreWorkspace, litestreams: LitestreamWorkspace, litestream: Litestream) {
    this.stores = stores;
    this.litestreams = litestreams;
    this.litestream = litestream;
  }

  static async open(): Promise<TenantWorkspace> {
    const litestreams = await LitestreamWorkspace.open();
    return new TenantWorkspace(await StoreWorkspace.open(), litestreams, await litestreams.supervise());
  }

  get store(): FaultyStore {
    return this.stores.store;
  }

  get dataFolder(): string {
    return this.litestreams.dataFolder;
  }

  /** As `ports`, of a new host on another Machine, with a disk of its own. */
  async portsOn(machine: string, changes: Partial<StoragePorts> = {}): Promise<StoragePorts> {
    const hostRecord = await this.stores.host({ machine });
    return await this.ports({ hostRecord, dataFolder: join(this.dataFolder, machine), ...changes });
  }

  /** What a tenant is opened with by a host; a new one of the same Machine, if none is given. */
  async ports(changes: Partial<StoragePorts> = {}): Promise<StoragePorts> {
    const hostRecord = changes.hostRecord ?? (await this.stores.host());
    return {
      store: this.store,
      litestream: this.litestream,
      hostRecord,
      peers: new Peers(this.store, hostRecord.identity.id, systemHostClock),
      files: new FolderFiles(changes.dataFolder ?? this.dataFolder),
      dataFolder: this.dataFolder,
      bootId: "this boot",
      connect: connectTenant,
      masterKeys: [],
      restore: (source) =>
        restoreReplica({
          ...source,
          binary: litestreamBinary(),
          environment: process.env,
          log: this.litestreams.log,
          timeoutMs: 30_000,
        }),
      onLocalLoss: () => {},
      onSnapshotLoss: () => {},
      now: Date.now,
      ...changes,
    };
  }

  /** Remembers a tenant that the test may leave open. */
  keep(tenant: OpenTenant): OpenTenant {
    this.#opened.push(tenant);
    return tenant;
  }

  async close(): Promise<void> {
    this.store.down = false;
    for (const tenant of this.#opened) await tenant.abandon(new Error("the test is over")).catch(() => {});
    await this.litestreams.close();
    await this.stores.close();
  }
}

/** The end of a process, as far as a tenant can see it: nothing was shipped or said after `tail` was committed. */
export async function crash(tenant: OpenTenant, tail?: string): Promise<void> {
  await tenant.replica.unregister();
  if (tail !== undefined) await writeFact(tenant, tail);
  await tenant.abandon(new Error("the host has crashed"));
}

/** Facts stand in the `meta` table, beside the file's own. */
export async function writeFact(tenant: OpenTenant, fact: string): Promise<void> {
  await tenant.connection.write((on) =>
    on.run("INSERT INTO meta (key, value) VALUES (?, '')", [`fact ${fact}`]),
  );
}

export async function readFacts(tenant: OpenTenant): Promise<readonly string[]> {
  const rows = await tenant.connection.read((on) =>
    on.all<{ readonly key: string }>("SELECT key FROM meta WHERE key LIKE 'fact %' ORDER BY key"),
  );
  return rows.map(({ key }) => key.slice("fact ".length));
}
