import type { LitestreamControl } from "../../app/storage/litestream-control.ts";
import type { OpenTenant, StoragePorts } from "../../app/storage/open-tenant.ts";
import type { OwnedRecord } from "../../app/storage/owned-record.ts";
import type { MemoryDisk } from "../fakes/memory-disk.ts";
import type { MemoryStore } from "../fakes/memory-store.ts";
import type { Action } from "./actions.ts";
import type { DriftingClock } from "./drifting-clock.ts";

/** What a faulty port may know of the host that it stands in. */
export interface HostFacts {
  readonly id: string;
  readonly machine: string;
  readonly clock: DriftingClock;
  readonly disk: MemoryDisk;
  /** The store itself, past every network. */
  readonly truth: MemoryStore;
  /** The tenants that the host has open. */
  readonly tenants: () => readonly OpenTenant[];
}

/** The ports by which a host's storage meets the world. */
export interface HostPorts extends Pick<StoragePorts, "store" | "files" | "bootId" | "connect" | "restore"> {
  readonly litestream: LitestreamControl;
  readonly proof: () => Promise<void>;
}

/** A rule that does not hold, because a port breaks it: nothing of this is in the project's code. */
export interface Broken {
  /** What takes the place of a host's ports; called once for each host. */
  readonly ports?: (ports: HostPorts, host: HostFacts) => Partial<HostPorts>;
  /** What the record of a tenant that is pruned is taken for. */
  readonly prunes?: (record: OwnedRecord) => OwnedRecord;
  readonly opened?: (tenant: OpenTenant) => void;
  /** Goes on with an epoch whose release was not answered. */
  readonly goesOnAfterRelease?: boolean;
  /** What is done to the world so many times as often, as the rule matters only then. */
  readonly leans?: Partial<Readonly<Record<Action, number>>>;
  /** Opens a tenant anew although it is open. */
  readonly opensAgain?: boolean;
  /** Deletes the records of fenced hosts at once. */
  readonly forgetsFencedHosts?: boolean;
}
