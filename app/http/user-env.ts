import type { HoldfastDb } from "../../db/connect.ts";
import type { Runs } from "../engine/runs.ts";
import type { Claims } from "./token.ts";

/** What a route of the user's own has of the tenant that the request is for. */
export interface UserTenant {
  readonly id: string;
  /** Drizzle on the tenant's own file. Inside `db.transaction` use its `tx` only: `db` and `runs` throw there. */
  readonly db: HoldfastDb;
  readonly runs: Runs;
}

/** For `new Hono<AppEnv>()` in `app/routes.ts`. */
export interface AppEnv {
  Variables: {
    tenant: UserTenant;
    /** Whose token it is, and what it may do. */
    claims: Claims;
  };
}
