import type { EngineLog } from "../engine/log.ts";
import type { Replica } from "../storage/replica.ts";
import type { HostedTenant } from "./hosted-tenant.ts";

/** What Litestream may still hold of an epoch that was abandoned: its file must not move before. */
export class Leftover {
  readonly #log: EngineLog;
  #replica: Replica | null = null;

  constructor(log: EngineLog) {
    this.#log = log;
  }

  get isThere(): boolean {
    return this.#replica !== null;
  }

  /** Abandons the tenant; what of it is not let go of is kept here. Never rejects. */
  async abandon(tenant: HostedTenant, why: Error): Promise<void> {
    try {
      await tenant.abandon(why);
    } catch (error) {
      this.#replica = tenant.file.replica;
      this.#log.warn({ err: error, tenant: tenant.id }, "Litestream did not let go of a file");
    }
  }

  /** Rejects while Litestream may still hold it. */
  async letGo(): Promise<void> {
    await this.#replica?.unregister();
    this.#replica = null;
  }
}
