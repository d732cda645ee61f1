import { TenantUnavailableError } from "../../app/storage/errors.ts";
import type { OpenTenant, StoragePorts } from "../../app/storage/open-tenant.ts";
import type { Random } from "../crash/drill/random.ts";
import type { MemoryDisk } from "../fakes/memory-disk.ts";
import { MemoryFiles } from "../fakes/memory-files.ts";
import type { Broken, HostFacts, HostPorts } from "./broken.ts";
import { DriftingClock } from "./drifting-clock.ts";
import { ModelHost } from "./host.ts";
import { ModelLitestream, restoreInto, type LitestreamFaults } from "./litestream.ts";
import type { Machine } from "./machine.ts";
import { MemoryConnection } from "./memory-connection.ts";
import { Network, type NetworkFaults } from "./network.ts";
import type { RecordedStore } from "./recorded-store.ts";
import { Actor, type Schedule } from "./schedule.ts";
import { SupervisedLitestream } from "./supervised-litestream.ts";
import type { Witness } from "./witness.ts";

/** What all hosts of a world share. */
export interface Surroundings {
  readonly schedule: Schedule;
  readonly random: Random;
  readonly store: RecordedStore;
  /** By tenant. */
  readonly witnesses: ReadonlyMap<string, Witness>;
  readonly network: NetworkFaults;
  readonly litestream: LitestreamFaults;
  readonly broken: Broken;
  readonly onViolation: (error: unknown) => void;
}

/** Of openings, so many find a file whose schema is older than the code. */
const migrates = 0.05;

/** A host on the Machine, with the project's own storage on the model's ports. It is not started yet. */
export function assembleHost(name: string, machine: Machine, world: Surroundings): ModelHost {
  const { schedule, random, broken } = world;
  const actor = new Actor(name);
  const clock = new DriftingClock(schedule, actor, {
    rate: random.pick([0.3, 1, 1, 1, 3]),
    wallAheadMs: random.between(-10_000, 10_000),
  });
  const { disk } = machine;
  const tenants = (): readonly OpenTenant[] => host.tenants;
  const facts: HostFacts = { id: name, machine: machine.name, clock, disk, truth: world.store, tenants };
  let lives = 0;
  const litestream = new SupervisedLitestream(actor, schedule, () =>
    startLitestream(`L${++lives}(${name})`, machine, world),
  );
  const whole: HostPorts = {
    ...portsOf(actor, machine, world),
    litestream: litestream.control,
    proof: () => host.prove(),
  };
  const { litestream: control, proof, ...ports } = { ...whole, ...broken.ports?.(whole, facts) };
  litestream.control = control;
  const host: ModelHost = new ModelHost({
    actor,
    machine: machine.name,
    schedule,
    clock,
    litestream,
    witnesses: world.witnesses,
    ports: {
      ...ports,
      dataFolder: "",
      masterKeys: [],
      onLocalLoss: (_tenant, why) => schedule.note(`${name} does not use its own file: ${why}`),
      onSnapshotLoss: (_tenant, why) => schedule.note(`${name} has no use of a snapshot: ${why}`),
    },
    proof,
    broken,
    onViolation: world.onViolation,
    exit: () => {
      if (machine.host === host) machine.hostEnds(random.chance(0.5));
    },
  });
  return host;
}

function startLitestream(name: string, { disk }: Machine, world: Surroundings): ModelLitestream {
  const { schedule, random, litestream: faults } = world;
  const store = (actor: Actor): Network =>
    new Network(world.store, actor, { ...world, faults: world.network });
  return new ModelLitestream(name, { disk, store, schedule, random, faults });
}

function portsOf(
  actor: Actor,
  { disk, bootId }: Machine,
  world: Surroundings,
): Omit<HostPorts, "litestream" | "proof"> {
  const store = new Network(world.store, actor, { ...world, faults: world.network });
  const step = (what: string): Promise<void> => world.schedule.step(actor, what);
  return {
    store,
    files: new FilesPackedAtOnce(disk, step),
    bootId,
    connect: connectIn(disk, step, world),
    restore: (source) => restoreInto(disk, store, source),
  };
}

/** A snapshot is put under a lock of the whole process, which a host that ends meanwhile would hold for ever: so that takes no step. */
class FilesPackedAtOnce extends MemoryFiles {
  constructor(disk: MemoryDisk, step: (what: string) => Promise<void>) {
    super(disk, (what) => (what === "pack" ? Promise.resolve() : step(what)));
  }
}

function connectIn(
  disk: MemoryDisk,
  step: (what: string) => Promise<void>,
  { random, witnesses }: Surroundings,
): StoragePorts["connect"] {
  return async (path, tenantId, { onCommit }) => {
    await step("opens the file");
    const folder = disk.folderOf(path);
    if (folder === undefined) throw new TenantUnavailableError(`The folder of ${path} is gone.`);
    const epoch = Number(/\/e(\d+)\//.exec(path)?.[1]);
    witnesses.get(tenantId)?.opened(epoch, folder.file?.writes ?? []);
    const isOld = folder.file !== null && random.chance(migrates);
    folder.file ??= { writes: [], checkpointed: 0, damaged: false };
    const connection = new MemoryConnection(path, folder.file, { step, onCommit });
    if (isOld) await connection.write((on) => on.run("ALTER TABLE", [`schema${random.between(1, 999)}`]));
    return { connection, migrated: isOld };
  };
}
