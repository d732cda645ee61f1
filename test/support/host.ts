import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Agent, RunContext } from "../../app/engine/agent.ts";
import type { Durability } from "../../app/engine/journal.ts";
import { HostedTenant } from "../../app/host/hosted-tenant.ts";
import { systemClocks, type Clocks } from "../../app/host/jump-guard.ts";
import { WorkerHost } from "../../app/host/worker-host.ts";
import type { HostIdentity, OwnHostRecord } from "../../app/storage/host-record.ts";
import type { StoragePorts } from "../../app/storage/open-tenant.ts";
import { anyAgent } from "./agent.ts";
import { isRunning, until } from "./litestream.ts";
import { TenantWorkspace, writeFact } from "./storage.ts";

export interface HostOptions {
  readonly idleMs?: number;
  /** As soon as it is parked, unless it is given. */
  readonly releaseMs?: number;
  readonly maxOpen?: number;
  readonly maxDiskBytes?: number;
  readonly exitIdleMs?: number;
  readonly onIdle?: () => void;
  readonly clocks?: Clocks;
  readonly durability?: Durability;
  readonly agents?: readonly Agent[];
  readonly storage?: Partial<StoragePorts>;
}

/** Hosts of one Machine, one after the other, on a store and a real Litestream. */
export class HostWorkspace {
  readonly tenants: TenantWorkspace;
  readonly #hosts: { readonly host: WorkerHost; readonly record: OwnHostRecord }[] = [];

  private constructor(tenants: TenantWorkspace) {
    this.tenants = tenants;
  }

  static async open(): Promise<HostWorkspace> {
    return new HostWorkspace(await TenantWorkspace.open());
  }

  get store(): TenantWorkspace["store"] {
    return this.tenants.store;
  }

  get log(): TenantWorkspace["stores"]["log"] {
    return this.tenants.stores.log;
  }

  /** On a Machine and a disk of its own. */
  async hostOn(
    identity: Partial<HostIdentity> & { readonly machine: string },
    options: HostOptions = {},
  ): Promise<WorkerHost> {
    const { machine } = identity;
    const hostRecord = await this.tenants.stores.host({ address: `http://${machine}`, ...identity });
    const dataFolder = join(this.tenants.dataFolder, machine);
    return await this.host({ ...options, storage: { hostRecord, dataFolder, ...options.storage } });
  }

  async host({
    idleMs,
    releaseMs,
    maxOpen,
    maxDiskBytes,
    exitIdleMs,
    onIdle,
    clocks,
    durability,
    agents,
    storage,
  }: HostOptions = {}): Promise<WorkerHost> {
    const ports = await this.tenants.ports(storage);
    const host = new WorkerHost({
      agents: new Map((agents ?? []).map((agent) => [agent.id, agent])),
      durability: durability ?? "replicated",
      idleMs: idleMs ?? 600_000,
      regionsStart: false,
      releaseMs: releaseMs ?? 0,
      maxOpen: maxOpen ?? 100,
      maxDiskBytes: maxDiskBytes ?? null,
      exitIdleMs: exitIdleMs ?? null,
      onIdle: onIdle ?? (() => {}),
      clocks: clocks ?? systemClocks,
      log: this.log,
      storage: ports,
    });
    this.#hosts.push({ host, record: ports.hostRecord });
    return host;
  }

  /** The end of a host's process, and of its Litestream: nothing of it goes on, and it has told nobody. */
  async kill(host: WorkerHost): Promise<void> {
    const open = host.openTenants();
    if (open.length > 0) await this.#killLitestream();
    host.fence();
    for (const tenant of open) await tenant.abandon(new Error("the host was killed")).catch(() => {});
    await this.#hosts.find((one) => one.host === host)?.record.stop();
  }

  async #killLitestream(): Promise<void> {
    // One that does not answer is dead already.
    const found = await this.tenants.litestream.control.info().catch(() => null);
    if (found === null) return;
    const { pid } = found;
    process.kill(pid, "SIGKILL");
    await until("Litestream is dead", async () => !(await isRunning(pid)));
  }

  /** As after a wiped disk: nothing is left of any tenant on this Machine. */
  async wipe(): Promise<void> {
    await rm(this.tenants.dataFolder, { recursive: true, force: true });
  }

  async close(): Promise<void> {
    this.store.down = false;
    this.store.atRandom(0, {});
    for (const { host } of this.#hosts) await this.kill(host);
    await this.tenants.close();
  }
}

export function agentOf(id: string, handler: (context: RunContext<unknown>) => unknown): Agent {
  return anyAgent(handler, { id });
}

/** What a use of a host's tenant is given, with all that the host has of it. */
export function hosted(tenant: unknown): HostedTenant {
  if (tenant instanceof HostedTenant) return tenant;
  throw new TypeError("This is no tenant of a WorkerHost.");
}

/** Commits a fact and waits until it may be acknowledged. */
export async function acknowledge(host: WorkerHost, tenantId: string, fact: string): Promise<void> {
  await host.use(tenantId, async (tenant) => {
    await writeFact(hosted(tenant).file, fact);
    await tenant.durable();
  });
}
