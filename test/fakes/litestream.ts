import { LitestreamError, type LitestreamControl } from "../../app/storage/litestream-control.ts";
import type { Litestream, LitestreamState } from "../../app/storage/litestream.ts";

/** What a sync answers, or the error that it fails with. */
export type SyncAnswer = readonly [txid: number, replicatedTxid: number] | LitestreamError;

/** A Litestream that holds registrations and answers syncs as a test says, without any file. */
export class FakeLitestream implements Litestream {
  life = 1;
  state: LitestreamState = { kind: "up", since: 0 };
  /** The paths it holds. */
  readonly held = new Set<string>();
  readonly calls: string[] = [];
  /** In seconds, one a sync. */
  readonly syncTimeouts: number[] = [];
  /** Answers of the next syncs; the last one is repeated. */
  answers: SyncAnswer[] = [[1, 1]];
  /** Awaited before a registration is made. */
  beforeRegister: Promise<unknown> = Promise.resolve();
  /** Awaited before a sync is answered. */
  beforeSync: Promise<unknown> = Promise.resolve();
  /** What unregistering fails with, and whether it has let go all the same. */
  unregisterFails: { readonly lettingGo: boolean } | null = null;

  readonly control: LitestreamControl = {
    register: async ({ path }) => {
      this.calls.push("register");
      await this.beforeRegister;
      const known = this.held.has(path);
      this.held.add(path);
      return known ? "already_registered" : "registered";
    },
    sync: async ({ path, timeoutSeconds }) => {
      this.calls.push("sync");
      this.syncTimeouts.push(timeoutSeconds);
      await this.beforeSync;
      const answer = (this.answers.length > 1 ? this.answers.shift() : this.answers[0]) ?? [1, 1];
      if (!this.held.has(path)) throw new LitestreamError("it is not registered", { path, status: 404 });
      if (answer instanceof LitestreamError) throw answer;
      return { txid: answer[0], replicatedTxid: answer[1] };
    },
    unregister: async ({ path }) => {
      this.calls.push("unregister");
      if (this.unregisterFails === null || this.unregisterFails.lettingGo) this.held.delete(path);
      if (this.unregisterFails !== null) throw new LitestreamError("it failed", { path, status: 500 });
    },
    info: async () => ({ pid: 1, version: "0.5.17" }),
    list: async () => [...this.held].map((path) => ({ path, status: "replicating" })),
    close: () => {},
  };

  /** As after its death: it knows nothing any more. */
  restart(): void {
    this.life += 1;
    this.held.clear();
  }

  onRestart(): () => void {
    return () => {};
  }

  async ready(): Promise<void> {}

  async stop(): Promise<void> {}
}
