import { connect, type Connection } from "../../db/connect.ts";
import { DatabaseError } from "../../db/errors.ts";
import { migrate } from "../../db/migrate.ts";
import { TenantUnavailableError } from "./errors.ts";

/** A tenant's file, open, at the schema of this code. */
export interface TenantFile {
  readonly connection: Connection;
  /** Whether its schema had to be brought up to date; of a new file too. */
  readonly migrated: boolean;
}

/**
 * Opens the tenant's file at `path`, making it if there is none, and brings it to the schema of the folder of migrations, by
 * default this code's own. Throws TenantUnavailableError, and leaves it closed.
 */
export async function connectTenant(
  path: string,
  tenantId: string,
  options: { readonly onCommit: () => void },
  migrations?: string,
): Promise<TenantFile> {
  const connection = connect(path, options);
  try {
    return { connection, migrated: await prepare(connection, tenantId, migrations) };
  } catch (error) {
    await connection.close();
    throw error;
  }
}

/** Brings the file to the code's schema and writes into a new one whose it is. True if that took migrations. */
async function prepare(
  connection: Connection,
  tenantId: string,
  migrations: string | undefined,
): Promise<boolean> {
  try {
    const { applied } = await migrate(connection, migrations);
    const owner = await connection.read((on) =>
      on.get<{ readonly value: string }>("SELECT value FROM meta WHERE key = 'tenant'"),
    );
    if (owner === undefined)
      await connection.write((on) =>
        on.run("INSERT INTO meta (key, value) VALUES ('tenant', ?)", [tenantId]),
      );
    else if (owner.value !== tenantId)
      throw new TenantUnavailableError(
        `The file of tenant "${tenantId}" belongs to tenant "${owner.value}".`,
        {
          retryAfterSeconds: 60,
        },
      );
    return applied > 0;
  } catch (error) {
    if (error instanceof TenantUnavailableError) throw error;
    throw new TenantUnavailableError(
      `The file of tenant "${tenantId}" cannot be used: ${(error as Error).message}`,
      {
        cause: error,
        retryAfterSeconds: 60,
        ...(error instanceof DatabaseError ? {} : { damage: "file" }),
      },
    );
  }
}
