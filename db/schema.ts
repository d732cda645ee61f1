import { sql } from "drizzle-orm";
import {
  customType,
  index,
  integer,
  primaryKey,
  sqliteTable,
  text,
  uniqueIndex,
} from "drizzle-orm/sqlite-core";

/**
 * A recorded value: JSON text when clear, bytes when sealed with the tenant's key, NULL for `undefined`.
 * SQLite's types are per value, so one column holds both; the `…KeyId` beside it says which key sealed it (NULL: clear).
 */
const value = customType<{ data: string | Uint8Array }>({ dataType: () => "blob" });

/** Projection of `history`, written when a run's status changes. Times are epoch milliseconds. */
export const runs = sqliteTable(
  "runs",
  {
    id: text("id").primaryKey(),
    agent: text("agent").notNull(),
    version: text("version"),
    status: text("status").notNull(),
    durability: text("durability").notNull(),
    inputKeyId: text("input_key_id"),
    input: value("input"),
    resultKeyId: text("result_key_id"),
    output: value("output"),
    error: value("error"),
    stateKeyId: text("state_key_id"),
    /** What the run said of itself last. */
    state: value("state"),
    /** The run that waits for this one. */
    parent: text("parent"),
    idempotencyKey: text("idempotency_key"),
    /** Sealed with the input's key: a digest of a guessable input would give it away. */
    fingerprint: value("fingerprint"),
    createdAt: integer("created_at").notNull(),
    startedAt: integer("started_at"),
    endedAt: integer("ended_at"),
    wakeAt: integer("wake_at"),
  },
  (table) => [
    uniqueIndex("runs_idempotency_key")
      .on(table.idempotencyKey)
      .where(sql`idempotency_key IS NOT NULL`),
    index("runs_status").on(table.status, table.id),
    index("runs_agent_status").on(table.agent, table.status, table.id),
    index("runs_agent").on(table.agent, table.id),
    index("runs_wake")
      .on(table.wakeAt)
      .where(sql`wake_at IS NOT NULL`),
    index("runs_parent")
      .on(table.parent, table.id)
      .where(sql`parent IS NOT NULL`),
  ],
);

/**
 * What happened in a run: append-only, the only truth that replay reads. Its rows lie in the order of their writing, so that
 * those of many runs in one transaction share pages; in the order of the key each run would have a page of its own written.
 */
export const history = sqliteTable(
  "history",
  {
    runId: text("run_id").notNull(),
    seq: integer("seq").notNull(),
    kind: text("kind").notNull(),
    path: text("path").notNull(),
    name: text("name").notNull(),
    occurrence: integer("occurrence").notNull(),
    attempt: integer("attempt").notNull(),
    at: integer("at").notNull(),
    keyId: text("key_id"),
    data: value("data"),
  },
  (table) => [primaryKey({ columns: [table.runId, table.seq] })],
);

/** Inbox of signals. `takenBySeq` is the history row that took one. */
export const signals = sqliteTable(
  "signals",
  {
    id: text("id").primaryKey(),
    runId: text("run_id").notNull(),
    name: text("name").notNull(),
    idempotencyKey: text("idempotency_key"),
    keyId: text("key_id"),
    payload: value("payload"),
    at: integer("at").notNull(),
    takenBySeq: integer("taken_by_seq"),
  },
  (table) => [
    uniqueIndex("signals_idempotency_key").on(table.runId, table.idempotencyKey),
    index("signals_inbox")
      .on(table.runId, table.id)
      .where(sql`taken_by_seq IS NULL`),
  ],
);

/** Facts about the file itself, such as whose it is. */
export const meta = sqliteTable("meta", {
  key: text("key").primaryKey(),
  value: text("value").notNull(),
});

/** A table of the user's own, for the example agent `refund`: one refund an order. Times are epoch milliseconds. */
export const refunds = sqliteTable("refunds", {
  orderId: text("order_id").primaryKey(),
  amountCents: integer("amount_cents").notNull(),
  status: text("status", { enum: ["open", "paid", "refused", "expired", "failed"] }).notNull(),
  /** The run that sees to it. */
  runId: text("run_id").notNull(),
  decidedBy: text("decided_by"),
  /** The payment service's own name for the payment. */
  paymentId: text("payment_id"),
  openedAt: integer("opened_at").notNull(),
  settledAt: integer("settled_at"),
});
