import { setTimeout as sleep } from "node:timers/promises";
import type { HostedTenant } from "./hosted-tenant.ts";

/** Who uses a tenant, and who waits until it is there. */
export class TenantUsers {
  readonly #onNone: () => void;
  #waiting = 0;
  #using = 0;
  #lastAt = 0;
  #whenNone: (() => void) | null = null;

  /** `onNone` is told when the last one who used the tenant is done. */
  constructor(onNone: () => void) {
    this.#onNone = onNone;
  }

  get using(): number {
    return this.#using;
  }

  get areNone(): boolean {
    return this.#using === 0 && this.#waiting === 0;
  }

  /** When the tenant was last used, or there was another reason to keep it open; epoch milliseconds. */
  get lastAt(): number {
    return this.#lastAt;
  }

  noteUse(now: number): void {
    this.#lastAt = now;
  }

  async use<T>(acquire: () => Promise<HostedTenant>, work: (tenant: HostedTenant) => Promise<T>): Promise<T> {
    this.#waiting += 1;
    let tenant: HostedTenant;
    try {
      tenant = await acquire();
      // In the same turn, so that the tenant is never taken for one that nobody wants.
      this.#using += 1;
    } finally {
      this.#waiting -= 1;
    }
    try {
      return await work(tenant);
    } finally {
      this.#using -= 1;
      this.#lastAt = Date.now();
      if (this.#using === 0) {
        this.#whenNone?.();
        this.#onNone();
      }
    }
  }

  /** Those who use it now get so long to end. */
  async gone(withinMs: number): Promise<void> {
    if (this.#using === 0) return;
    await Promise.race([
      new Promise<void>((resolve) => (this.#whenNone = resolve)),
      sleep(withinMs, undefined, { ref: false }),
    ]);
  }
}
