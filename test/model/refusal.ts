import { errorCode } from "../../app/storage/error-code.ts";
import { StorageError } from "../../app/storage/errors.ts";
import { FencedError } from "../../app/storage/host-record.ts";
import { StoreUnavailableError } from "../../app/storage/object-store.ts";
import { RecordChangedError } from "../../app/storage/records.ts";
import { VoidRegistrationError } from "../../app/storage/replica.ts";
import { LitestreamError } from "../../app/storage/litestream-control.ts";
import { ClosedError } from "./memory-connection.ts";
import { Violation } from "./witness.ts";

/** The host takes no more requests. */
export class EndedError extends Error {
  override readonly name = "EndedError";
  constructor() {
    super("the host has ended");
  }
}

const refusals = [
  StorageError,
  FencedError,
  StoreUnavailableError,
  RecordChangedError,
  VoidRegistrationError,
  LitestreamError,
  ClosedError,
  EndedError,
];

/** A request may be refused, for a reason that storage knows; any other error is a fault of the code. */
export function assertRefusal(error: unknown): void {
  if (error instanceof Violation) throw error;
  // Of a folder that vanished while its file was in use.
  if (errorCode(error) === "ENOENT") return;
  if (!refusals.some((refusal) => error instanceof refusal))
    throw new Violation(
      `an error that nobody expects: ${error instanceof Error ? error.stack : String(error)}`,
    );
}
