import type { Random } from "../crash/drill/random.ts";
import { MemoryDisk, type EpochFolder } from "../fakes/memory-disk.ts";
import type { ModelHost } from "./host.ts";
import type { ModelLitestream } from "./litestream.ts";

/** What outlives a host: its disk, its kernel, and perhaps its Litestream. */
export class Machine {
  readonly name: string;
  readonly disk = new MemoryDisk();
  host: ModelHost | null = null;
  /** Litestreams whose host is gone. */
  survivors: ModelLitestream[] = [];
  #boot = 1;

  constructor(name: string) {
    this.name = name;
  }

  get bootId(): string {
    return `${this.name} boot ${this.#boot}`;
  }

  /** The host's process ends; its Litestream may live on. */
  hostEnds(litestreamLives: boolean): void {
    const { host } = this;
    this.host = null;
    if (host === null) return;
    host.actor.alive = false;
    if (litestreamLives) this.survivors.push(host.litestream.process);
    else host.litestream.process.kill();
  }

  endSurvivors(): void {
    for (const litestream of this.survivors.splice(0)) litestream.kill();
  }

  /** Everything dies, and of each file some of what was not yet on the disk itself is gone. */
  losePower(random: Random): void {
    this.hostEnds(false);
    this.endSurvivors();
    this.#boot += 1;
    for (const folder of this.disk.all()) setBack(folder, random);
  }
}

function setBack(folder: EpochFolder, random: Random): void {
  folder.scratch = null;
  const { file } = folder;
  if (file === null) return;
  file.writes.length = random.between(0, file.writes.length);
  if (folder.witness !== null && random.chance(0.5))
    folder.witness = Math.min(folder.witness, file.writes.length);
}
