import type { HistoryEvent, ListedRun, RunPatch, RunRecord, SignalRecord } from "../engine/journal.ts";
import type { SerializedError } from "../engine/serialized-error.ts";
import type { Codec, SealedValue } from "./codec.ts";

type Data = SealedValue["data"];

/** Rows as SQLite gives them. */
export interface RunRow {
  readonly id: string;
  readonly agent: string;
  readonly version: string | null;
  readonly status: RunRecord["status"];
  readonly durability: RunRecord["durability"];
  readonly input_key_id: string | null;
  readonly input: Data;
  readonly result_key_id: string | null;
  readonly output: Data;
  readonly error: Data;
  readonly state_key_id: string | null;
  readonly state: Data;
  readonly parent: string | null;
  readonly idempotency_key: string | null;
  readonly fingerprint: Data;
  readonly created_at: number;
  readonly started_at: number | null;
  readonly ended_at: number | null;
  readonly wake_at: number | null;
}

export interface HistoryRow {
  readonly run_id: string;
  readonly seq: number;
  readonly kind: HistoryEvent["kind"];
  readonly path: string;
  readonly name: string;
  readonly occurrence: number;
  readonly attempt: number;
  readonly at: number;
  readonly key_id: string | null;
  readonly data: Data;
}

export interface SignalRow {
  readonly id: string;
  readonly run_id: string;
  readonly name: string;
  readonly idempotency_key: string | null;
  readonly key_id: string | null;
  readonly payload: Data;
  readonly at: number;
  readonly taken_by_seq: number | null;
}

const place = {
  run: (id: string, column: "input" | "output" | "error" | "state" | "fingerprint") => `runs:${id}:${column}`,
  history: (runId: string, seq: number) => `history:${runId}:${seq}`,
  signal: (id: string) => `signals:${id}`,
};

export function encodeRun(run: RunRecord, codec: Codec): RunRow {
  const input = codec.seal(run.input, place.run(run.id, "input"));
  const digest = codec.seal(run.fingerprint ?? undefined, place.run(run.id, "fingerprint"));
  const result = encodeResult(run.id, run, codec);
  return {
    id: run.id,
    agent: run.agent,
    version: run.version,
    status: run.status,
    durability: run.durability,
    input_key_id: input.keyId,
    input: input.data,
    result_key_id: result.result_key_id ?? null,
    output: result.output ?? null,
    error: result.error ?? null,
    ...encodeState(run.id, run.state, codec),
    parent: run.parent,
    idempotency_key: run.idempotencyKey,
    fingerprint: digest.data,
    created_at: run.createdAt,
    started_at: run.startedAt,
    ended_at: run.endedAt,
    wake_at: run.wakeAt,
  };
}

/** Only the columns that the patch names. */
export function encodePatch(runId: string, patch: RunPatch, codec: Codec): Partial<RunRow> {
  return {
    ...(patch.status === undefined ? {} : { status: patch.status }),
    ...("output" in patch || "error" in patch ? encodeResult(runId, patch, codec) : {}),
    ...("state" in patch ? encodeState(runId, patch.state, codec) : {}),
    ...(patch.startedAt === undefined ? {} : { started_at: patch.startedAt }),
    ...(patch.endedAt === undefined ? {} : { ended_at: patch.endedAt }),
    ...(patch.wakeAt === undefined ? {} : { wake_at: patch.wakeAt }),
  };
}

/** Output and error are sealed together: one column says with which key. */
function encodeResult(
  runId: string,
  { output, error }: Pick<RunPatch, "output" | "error">,
  codec: Codec,
): Partial<RunRow> {
  const sealedOutput = codec.seal(output, place.run(runId, "output"));
  const sealedError = codec.seal(error ?? undefined, place.run(runId, "error"));
  return { result_key_id: sealedOutput.keyId, output: sealedOutput.data, error: sealedError.data };
}

function encodeState(runId: string, state: unknown, codec: Codec): Pick<RunRow, "state_key_id" | "state"> {
  const sealed = codec.seal(state, place.run(runId, "state"));
  return { state_key_id: sealed.keyId, state: sealed.data };
}

export function decodeRun(row: RunRow, codec: Codec): RunRecord {
  const inputKey = row.input_key_id;
  const resultKey = row.result_key_id;
  const error = codec.open({ keyId: resultKey, data: row.error }, place.run(row.id, "error"));
  const digest = codec.open({ keyId: inputKey, data: row.fingerprint }, place.run(row.id, "fingerprint"));
  return {
    id: row.id,
    agent: row.agent,
    version: row.version,
    status: row.status,
    durability: row.durability,
    input: codec.open({ keyId: inputKey, data: row.input }, place.run(row.id, "input")),
    output: codec.open({ keyId: resultKey, data: row.output }, place.run(row.id, "output")),
    error: (error ?? null) as SerializedError | null,
    state: codec.open({ keyId: row.state_key_id, data: row.state }, place.run(row.id, "state")),
    parent: row.parent,
    idempotencyKey: row.idempotency_key,
    fingerprint: (digest ?? null) as string | null,
    createdAt: row.created_at,
    startedAt: row.started_at,
    endedAt: row.ended_at,
    wakeAt: row.wake_at,
  };
}

export function decodeListedRun(row: RunRow & { readonly updated_at: number }, codec: Codec): ListedRun {
  return { ...decodeRun(row, codec), updatedAt: row.updated_at };
}

export function encodeEvent(event: HistoryEvent, codec: Codec): HistoryRow {
  const sealed = codec.seal(event.data, place.history(event.runId, event.seq));
  return {
    run_id: event.runId,
    seq: event.seq,
    kind: event.kind,
    path: event.path,
    name: event.name,
    occurrence: event.occurrence,
    attempt: event.attempt,
    at: event.at,
    key_id: sealed.keyId,
    data: sealed.data,
  };
}

export function decodeEvent(row: HistoryRow, codec: Codec): HistoryEvent {
  return {
    runId: row.run_id,
    seq: row.seq,
    kind: row.kind,
    path: row.path,
    name: row.name,
    occurrence: row.occurrence,
    attempt: row.attempt,
    at: row.at,
    data: codec.open({ keyId: row.key_id, data: row.data }, place.history(row.run_id, row.seq)),
  };
}

export function encodeSignal(signal: SignalRecord, codec: Codec): SignalRow {
  const sealed = codec.seal(signal.payload, place.signal(signal.id));
  return {
    id: signal.id,
    run_id: signal.runId,
    name: signal.name,
    idempotency_key: signal.idempotencyKey,
    key_id: sealed.keyId,
    payload: sealed.data,
    at: signal.at,
    taken_by_seq: signal.takenBySeq,
  };
}

export function decodeSignal(row: SignalRow, codec: Codec): SignalRecord {
  return {
    id: row.id,
    runId: row.run_id,
    name: row.name,
    idempotencyKey: row.idempotency_key,
    payload: codec.open({ keyId: row.key_id, data: row.payload }, place.signal(row.id)),
    at: row.at,
    takenBySeq: row.taken_by_seq,
  };
}
