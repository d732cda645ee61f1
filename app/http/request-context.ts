import type { HttpBindings } from "@hono/node-server";
import type { Durability } from "../engine/journal.ts";
import type { Tenant } from "../host/host.ts";
import type { Claims } from "./token.ts";

/** What the steps of a request hand on to the next one, in the order in which they are set. */
export interface HttpEnv {
  /** Of the server; there is none where a test asks the app itself. */
  Bindings: Partial<HttpBindings> & {
    /** The connection is one too many. */
    readonly isCrowded?: boolean;
  };
  Variables: {
    /** Set by `observe`. */
    requestId: string;
    /** Set by `authenticate`; routes without a tenant have none. */
    claims: Claims;
    /** Set by `place`. */
    tenant: Tenant;
    /** As it came; set by whoever reads it, null if there is none. */
    body: Uint8Array<ArrayBuffer> | null | undefined;
    /** Set by a route whose answer asks for more than its tenant does. */
    durability: Durability | undefined;
  };
}
