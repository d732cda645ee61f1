/** The key of a wake as a host that had the tenant in that epoch may have put it; the same each time. */
export function wakeKey(tenantId: string, at: number, epoch = 1): string {
  return `wakes/${new Date(at).toISOString().slice(0, 16)}/${tenantId}.${epoch}-0`;
}

/** The key of a wake with a 0 for what chance has put there. */
export function withoutNonce(key: string): string {
  return key.replace(/-[0-9a-f]{8}$/, "-0");
}
