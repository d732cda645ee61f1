import type { EpochNote, LocalEpoch } from "../../app/storage/data-folder.ts";
import { TenantUnavailableError } from "../../app/storage/errors.ts";
import type { LocalFiles } from "../../app/storage/local-files.ts";
import type { ParkedFile, TakenBack, WalHold } from "../../app/storage/parked-file.ts";
import type { ObjectStore } from "../../app/storage/object-store.ts";
import type { MemoryDatabase, MemoryDisk } from "./memory-disk.ts";

const ltxName = /[0-9a-f]{16}-([0-9a-f]{16})\.ltx$/;

/** Files of tenants on a disk in memory. `step` is awaited before each change: there a process can be ended. */
export class MemoryFiles implements LocalFiles {
  readonly #disk: MemoryDisk;
  readonly #step: (what: string) => Promise<void>;

  constructor(disk: MemoryDisk, step: (what: string) => Promise<void> = async () => {}) {
    this.#disk = disk;
    this.#step = step;
  }

  path(tenantId: string, epoch: number): string {
    return this.#disk.path(tenantId, epoch);
  }

  async newest(tenantId: string): Promise<LocalEpoch | undefined> {
    await this.#step("look for files");
    let newest: LocalEpoch | undefined;
    for (const [epoch, { file, note }] of this.#disk.epochs(tenantId))
      if (file !== null && note !== null && epoch > (newest?.epoch ?? 0)) newest = { epoch, note };
    return newest;
  }

  async writeNote(tenantId: string, epoch: number, note: EpochNote): Promise<void> {
    await this.#step(`note of e${epoch}`);
    this.#disk.folder(tenantId, epoch).note = note;
  }

  async discard(tenantId: string, epoch: number): Promise<void> {
    await this.#step(`discard e${epoch}`);
    this.#disk.remove(tenantId, epoch);
  }

  async discardOthers(tenantId: string, keep: number): Promise<void> {
    for (const epoch of this.#disk.epochs(tenantId).keys())
      if (epoch !== keep) await this.discard(tenantId, epoch);
  }

  async keep(tenantId: string, { from, to }: { readonly from: number; readonly to: number }): Promise<void> {
    await this.#step(`forget what was shipped of e${from}`);
    this.#disk.folder(tenantId, from).shipping = null;
    await this.discard(tenantId, to);
    await this.#step(`keep e${from} as e${to}`);
    this.#disk.move(tenantId, from, to);
  }

  async scratch(tenantId: string, epoch: number): Promise<string> {
    await this.#step(`scratch of e${epoch}`);
    this.#disk.folder(tenantId, epoch).scratch = null;
    return this.path(tenantId, epoch).replace("tenant.db", "restoring.db");
  }

  async pack(path: string): Promise<Uint8Array | null> {
    await this.#step("pack");
    return Buffer.from(JSON.stringify(this.#disk.folderOf(path)?.file));
  }

  async unpack(packed: Uint8Array, scratchPath: string): Promise<void> {
    const unpacked = JSON.parse(Buffer.from(packed).toString()) as MemoryDatabase;
    await this.#step("unpack");
    const folder = this.#disk.folderOf(scratchPath);
    if (folder !== undefined) folder.scratch = unpacked;
  }

  async check(scratchPath: string): Promise<void> {
    await this.#step("check");
    if (this.#disk.folderOf(scratchPath)?.scratch?.damaged !== false)
      throw new TenantUnavailableError("The file is damaged.");
  }

  async adopt(tenantId: string, epoch: number): Promise<void> {
    await this.#step(`adopt e${epoch}`);
    const folder = this.#disk.folder(tenantId, epoch);
    folder.file = folder.scratch;
    folder.scratch = null;
    if (folder.file !== null) folder.file.checkpointed = folder.file.writes.length;
  }

  async findLoss(path: string, store: ObjectStore, replica: string | null): Promise<string | null> {
    await this.#step("look for loss");
    const folder = this.#disk.folderOf(path);
    const witness = folder?.witness ?? null;
    if (witness === null && replica !== null) return "it has no record of what was shipped";
    if (folder?.file == null || folder.file.writes.length < (witness ?? 0))
      return "it is shorter than it was";
    if (replica !== null) {
      const shipped = lastTxid(await store.list(`${replica}/`));
      const local = folder.shipping?.taken.at(-1)?.txid ?? 0;
      if (local < shipped) return `it ends at txid ${local}, and the store has ${shipped}`;
    }
    return folder.file.damaged ? "it is damaged" : null;
  }

  size(): { readonly main: number; readonly wal: number } {
    return { main: 0, wal: 0 };
  }

  async shipped(path: string): Promise<number> {
    return this.#disk.folderOf(path)?.shipping?.taken.at(-1)?.txid ?? 0;
  }

  leaveWitness(path: string): void {
    const folder = this.#disk.folderOf(path);
    if (folder?.file == null)
      throw Object.assign(new Error(`There is no file at ${path}.`), { code: "ENOENT" });
    folder.witness = folder.file.writes.length;
  }

  hold(): WalHold {
    return { release: () => {} };
  }

  async setAside(path: string): Promise<ParkedFile> {
    await this.#step("set aside");
    this.leaveWitness(path);
    return this.#parked(path);
  }

  async takeBack(path: string, parked: ParkedFile): Promise<TakenBack> {
    await this.#step("take back");
    if (this.#disk.folderOf(path)?.file == null) return { kind: "lost", why: "it is gone" };
    const isSame = JSON.stringify(this.#parked(path)) === JSON.stringify(parked);
    return isSame ? { kind: "whole", hold: this.hold() } : { kind: "lost", why: "it was written" };
  }

  #parked(path: string): ParkedFile {
    const folder = this.#disk.folderOf(path);
    const writes = folder?.file?.writes.length ?? 0;
    return { inode: 0, mainBytes: writes, wal: null, shipped: folder?.shipping?.taken.at(-1)?.txid ?? 0 };
  }

  settle(path: string): void {
    // As the real one, it forgives a file that is gone.
    const file = this.#disk.folderOf(path)?.file ?? null;
    if (file === null) return;
    file.checkpointed = file.writes.length;
    this.leaveWitness(path);
  }
}

function lastTxid(names: readonly string[]): number {
  return Math.max(0, ...names.map((name) => Number.parseInt(ltxName.exec(name)?.[1] ?? "0", 16)));
}
